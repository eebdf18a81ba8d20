//! Two machines on one wire, as network namespaces; a wire can be pulled. Needs root and `ip`.

use std::process::Command;

use crate::cluster::Place;

/// A bridge with two namespaces. Gone when dropped.
pub struct Network {
    /// Ends every name, so that two runs do not meet.
    tag: u32,
}

impl Network {
    /// Lays the wires.
    pub fn new() -> Self {
        let network = Self { tag: std::process::id() };
        let bridge = network.name("br");
        network.ip(&["link", "add", &bridge, "type", "bridge"]);
        network.ip(&["addr", "add", &format!("{}/24", network.address(1)), "dev", &bridge]);
        network.ip(&["link", "set", &bridge, "up"]);
        for (machine, last) in [("a", 2), ("b", 3)] {
            let name = network.name(machine);
            network.ip(&["netns", "add", &name]);
            network.ip(&["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &name]);
            network.ip(&["link", "set", &name, "master", &bridge, "up"]);
            network.ip(&["-n", &name, "addr", "add", &format!("{}/24", network.address(last)), "dev", "eth0"]);
            network.ip(&["-n", &name, "link", "set", "eth0", "up"]);
            network.ip(&["-n", &name, "link", "set", "lo", "up"]);
        }
        network
    }

    /// Where the two servers are.
    pub fn places(&self) -> [Place; 2] {
        [("a", 2), ("b", 3)].map(|(machine, last)| Place {
            host: self.address(last),
            port: 5432,
            namespace: Some(self.name(machine)),
        })
    }

    /// Pulls the wire of the machine at `place`: nothing comes through, and nobody is told.
    pub fn cut(&self, place: &Place) {
        self.ip(&["link", "set", place.namespace.as_ref().unwrap(), "down"]);
    }

    /// Plugs it in again.
    pub fn mend(&self, place: &Place) {
        self.ip(&["link", "set", place.namespace.as_ref().unwrap(), "up"]);
    }

    fn name(&self, what: &str) -> String {
        format!("fl{what}{}", self.tag)
    }

    fn address(&self, last: u8) -> String {
        format!("10.213.{}.{last}", self.tag % 250)
    }

    fn ip(&self, words: &[&str]) {
        let output = Command::new("ip").args(words).output().unwrap();
        assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for machine in ["a", "b"] {
            let _ = Command::new("ip").args(["netns", "del", &self.name(machine)]).status();
        }
        let _ = Command::new("ip").args(["link", "del", &self.name("br")]).status();
    }
}
