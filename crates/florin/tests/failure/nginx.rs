//! nginx with the configuration that is shipped in `deploy/nginx`.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::server::steady_port;

const LOOKS: u32 = 600;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// nginx, or none: then tests behind it are skipped.
pub fn program() -> Option<PathBuf> {
    let program = std::env::var_os("FLORIN_TEST_NGINX");
    if program.is_none() {
        eprintln!("skipped: no nginx (FLORIN_TEST_NGINX is not set; `cargo xtask test` sets it where nginx is)");
    }
    program.map(PathBuf::from)
}

/// A running nginx. Killed when dropped.
pub struct Nginx {
    child: Child,
    _folder: TempDir,
    /// `http://127.0.0.1:port`.
    pub base: String,
}

impl Nginx {
    /// Starts it in front of nodes at these ports: two or three.
    pub fn start(program: &Path, nodes: &[u16]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = steady_port();
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration(folder.path(), port, nodes)).unwrap();
        let mut command = Command::new(program);
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).stdin(Stdio::null());
        let child = command.args(["-e", "stderr"]).spawn().unwrap();
        let mut nginx = Self { child, _folder: folder, base: format!("http://127.0.0.1:{port}") };
        for _ in 0..LOOKS {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return nginx;
            }
            assert!(nginx.child.try_wait().unwrap().is_none(), "nginx does not take the shipped configuration");
            thread::sleep(BETWEEN_LOOKS);
        }
        panic!("nginx does not listen");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx").join(name)).unwrap()
}

/// The shipped files, with the nodes' addresses in the place of the example's, and without TLS.
fn configuration(folder: &Path, port: u16, nodes: &[u16]) -> String {
    let mut upstream = shipped(if nodes.len() == 2 { "upstream-two.conf" } else { "upstream-three.conf" });
    for (index, node) in nodes.iter().enumerate() {
        let example = format!("10.0.0.{}:8000", 11 + index);
        assert!(upstream.contains(&example), "{upstream}");
        upstream = upstream.replace(&example, &format!("127.0.0.1:{node}"));
    }
    assert!(!upstream.contains("10.0.0."), "{upstream}");
    let site = shipped("florin.conf");
    let request_ids = &site[site.find("map ").unwrap()..site.find("log_format").unwrap()];
    let locations = shipped("florin-locations.conf");
    let folder = folder.display();
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/pid;\nevents {{ worker_connections 512; }}\nhttp {{\n\
         access_log off;\nclient_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi;\nuwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n\
         {request_ids}\n{upstream}\nserver {{\nlisten 127.0.0.1:{port};\n{locations}\n}}\n}}\n"
    )
}
