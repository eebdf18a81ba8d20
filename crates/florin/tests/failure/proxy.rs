//! A wire to PostgreSQL that can be cut, at any time or exactly at a commit.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use florin_testkit::postgres::{FreshDatabase, fresh_database};
use tempfile::TempDir;

use crate::server::{Database, Server, prove};

/// When a connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The commit does not reach the server.
    Before,
    /// The commit reaches the server, and the connection is gone.
    During,
    /// The server has committed; its answer is lost.
    After,
}

#[derive(Default)]
struct Plan {
    moment: Option<Moment>,
    /// Commits that are let through before.
    spared: u64,
    cuts: u64,
}

/// What became of a planned cut.
pub struct Cuts(Arc<Mutex<Plan>>);

impl Cuts {
    /// How many connections were cut.
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap().cuts
    }
}

/// A server whose wire to a PostgreSQL of its own can be cut.
pub struct Proxied {
    pub server: Server,
    pub proxy: Proxy,
    pub database: Database,
    _fresh: FreshDatabase,
    _folder: TempDir,
}

impl Proxied {
    /// Starts it; none where no PostgreSQL is given.
    pub fn start() -> Option<Self> {
        let fresh = fresh_database()?;
        let folder = tempfile::tempdir().unwrap();
        let proxy = Proxy::to(fresh.url());
        let database = Database::Postgres(proxy.url(), folder.path().to_owned());
        Some(Self { server: Server::start(&database, 0), proxy, database, _fresh: fresh, _folder: folder })
    }

    /// Stops the server, and proves its books.
    pub fn stop(mut self) {
        self.server.stop();
        prove(&self.database);
    }
}

/// Passes bytes both ways, until it is cut.
pub struct Proxy {
    url: String,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    plan: Arc<Mutex<Plan>>,
}

impl Proxy {
    /// A proxy before the server of `url` (`postgres://user@host:port/database`).
    pub fn to(url: &str) -> Self {
        let (before, rest) = url.split_once('@').unwrap();
        let (server, database) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{before}@{}/{database}", listener.local_addr().unwrap());
        let (is_cut, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let plan = Arc::new(Mutex::new(Plan::default()));
        let (server, cut, streams, plans) = (server.to_owned(), is_cut.clone(), open.clone(), plan.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Held while a connection is entered, so that a cut misses none.
                let mut streams = streams.lock().unwrap();
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(&server).unwrap();
                streams.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let wire = Arc::new(Wire { plan: plans.clone(), answer_is_lost: AtomicBool::new(false) });
                wire.clone().pass(client.try_clone().unwrap(), server.try_clone().unwrap(), Direction::ToServer);
                wire.pass(server, client, Direction::ToClient);
            }
        });
        Self { url, is_cut, open, plan }
    }

    /// Where to connect.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Ends every connection and refuses new ones.
    pub fn cut(&self) {
        let mut open = self.open.lock().unwrap();
        self.is_cut.store(true, Ordering::SeqCst);
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }

    /// Loses one connection at a commit of a transaction that writes, after letting `spared` of them through.
    pub fn cut_at_commit(&self, moment: Moment, spared: u64) -> Cuts {
        *self.plan.lock().unwrap() = Plan { moment: Some(moment), spared, cuts: 0 };
        Cuts(self.plan.clone())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// One connection.
struct Wire {
    plan: Arc<Mutex<Plan>>,
    /// The answer to the commit must not come through.
    answer_is_lost: AtomicBool,
}

impl Wire {
    fn pass(self: Arc<Self>, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        thread::spawn(move || {
            let _ = self.copy(&mut from, &mut to, direction);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }

    fn copy(&self, from: &mut TcpStream, to: &mut TcpStream, direction: Direction) -> io::Result<()> {
        let mut bytes = vec![0; 64 * 1024];
        let mut is_write = false;
        let mut batch = None;
        loop {
            let count = from.read(&mut bytes)?;
            let part = &bytes[..count];
            if count == 0 || (direction == Direction::ToClient && self.answer_is_lost.load(Ordering::SeqCst)) {
                return Ok(());
            }
            is_write |= direction == Direction::ToServer && holds(part, b"READ WRITE");
            // A batch that is all of its transaction is committed by the statement that writes it.
            let commits = |batch: &Vec<u8>| holds(part, batch);
            let commits = if is_write { holds(part, b"COMMIT\0") } else { batch.as_ref().is_some_and(commits) };
            let moment = if commits && direction == Direction::ToServer { self.next_commit() } else { None };
            is_write &= !commits;
            batch = prepared_batch(part).or(batch);
            match moment {
                Some(Moment::Before) => return Ok(()),
                Some(Moment::During) => return to.write_all(part),
                Some(Moment::After) => self.answer_is_lost.store(true, Ordering::SeqCst),
                None => {}
            }
            to.write_all(part)?;
        }
    }

    fn next_commit(&self) -> Option<Moment> {
        let mut plan = self.plan.lock().unwrap();
        if plan.moment.is_some() && plan.spared > 0 {
            plan.spared -= 1;
            return None;
        }
        let moment = plan.moment.take()?;
        plan.cuts += 1;
        Some(moment)
    }
}

/// How the statement that writes a batch is named when it is bound, if this prepares it: the unnamed portal, then the
/// name that stands before the text.
fn prepared_batch(part: &[u8]) -> Option<Vec<u8>> {
    const TEXT: &[u8] = b"\0WITH changed AS";
    let end = part.windows(TEXT.len()).position(|window| window == TEXT)?;
    let name: Vec<u8> = part[..end].iter().rev().copied().take_while(u8::is_ascii_alphanumeric).collect();
    Some([0].into_iter().chain(name.into_iter().rev()).chain([0]).collect())
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
