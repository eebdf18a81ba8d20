//! A server, or several, with wallets, ready for load: what is sent, and one measured run of it.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::runtime::Runtime;

use super::Options;
use super::client::{Connection, Load, Request};
use super::judge::{NARROW, SMALL_BATCH};
use super::machine::{Usage, memory_mb};
use super::run::{Run, Scenario, percentiles};
use crate::api::Api;
use crate::{Outcome, florin, postgres, process};

const DEPOSIT: &str = r#"{"operation_type":"DEPOSIT","amount":1}"#;

/// Commands in all the different bodies of the batch route.
const BATCHED: u32 = 32_000;

/// Wallets on one page of the list.
const PAGE: usize = 200;

/// Sets the keys of one run apart from those of all others, also of an earlier program on the same database.
static RUN_NUMBER: AtomicU32 = AtomicU32::new(0);

/// Servers of one database and the requests for them.
#[derive(Debug)]
pub struct Target<'a> {
    options: &'a Options,
    ports: Vec<u16>,
    pids: Vec<u32>,
    database: Option<&'a postgres::Server>,
    runtime: Runtime,
    token: String,
    wallets: Vec<String>,
    acknowledged: Rc<Cell<u64>>,
}

impl<'a> Target<'a> {
    /// Signs in on a new server and opens the wallets, over the API.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn with_new_wallets(
        options: &'a Options,
        server: &florin::Server,
        database: Option<&'a postgres::Server>,
    ) -> Outcome<Self> {
        let mut target = Self::new(options, (server.port(), server.pid()), database, server.api().sign_in()?)?;
        target.wallets = target.runtime.block_on(open_wallets(server.port(), &target.token, options))?;
        Ok(target)
    }

    /// Uses the wallets that this token's user has already.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn with_wallets_of(
        options: &'a Options,
        server: &florin::Server,
        database: Option<&'a postgres::Server>,
        token: &str,
    ) -> Outcome<Self> {
        let mut target = Self::new(options, (server.port(), server.pid()), database, token.to_owned())?;
        let wallets = &mut target.wallets;
        for_each_wallet(server.api(), token, |wallet| wallets.extend(wallet["id"].as_str().map(str::to_owned)))?;
        Ok(target)
    }

    /// Another service with the same routes: its port and process, a user's token, and wallets.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn of_service(
        options: &'a Options,
        service: (u16, u32),
        database: &'a postgres::Server,
        token: &str,
        wallets: &[String],
    ) -> Outcome<Self> {
        let target = Self::new(options, service, Some(database), token.to_owned())?;
        Ok(Self { wallets: wallets.to_vec(), ..target })
    }

    fn new(
        options: &'a Options,
        (port, pid): (u16, u32),
        database: Option<&'a postgres::Server>,
        token: String,
    ) -> Outcome<Self> {
        let threads = usize::try_from(options.client_threads)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let (ports, pids, wallets) = (vec![port], vec![pid], Vec::new());
        Ok(Self { options, ports, pids, database, runtime, token, wallets, acknowledged: Rc::default() })
    }

    /// The same wallets and token, over other ports; `pids` are those of the programs behind them.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn over(&self, ports: Vec<u16>, pids: Vec<u32>) -> Outcome<Self> {
        let threads = usize::try_from(self.options.client_threads)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let (options, database, acknowledged) = (self.options, self.database, Rc::clone(&self.acknowledged));
        let (token, wallets) = (self.token.clone(), self.wallets.clone());
        Ok(Self { options, ports, pids, database, runtime, token, wallets, acknowledged })
    }

    /// Its own async runtime.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The first server's port.
    pub fn port(&self) -> u16 {
        self.ports.first().copied().unwrap_or_default()
    }

    /// Processor time used so far by everybody.
    pub fn usage(&self) -> Usage {
        Usage::now(&self.pids, self.database.map(postgres::Server::pid))
    }

    /// Resident memory of the servers together, and the most that it was, megabytes.
    pub fn memory_mb(&self) -> (f64, f64) {
        self.pids.iter().map(|pid| memory_mb(*pid)).fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// What this scenario sends.
    pub fn requests(&self, scenario: Scenario) -> Arc<Vec<Request>> {
        let hot = &self.wallets[..self.wallets.len().min(1)];
        Arc::new(match scenario {
            Scenario::Ping | Scenario::PingBehindNginx(_) => {
                vec![Request::new("POST", "/api/v1/ping", &self.token, DEPOSIT, false)]
            }
            Scenario::Read | Scenario::ReadBesideNodes => self.wallets.iter().map(|id| self.read(id)).collect(),
            Scenario::DepositHot => hot.iter().map(|id| self.deposit(id, false)).collect(),
            Scenario::DepositHotKeyed => hot.iter().map(|id| self.deposit(id, true)).collect(),
            Scenario::DepositKeyed | Scenario::DepositWide(_) => {
                self.wallets.iter().map(|id| self.deposit(id, true)).collect()
            }
            Scenario::Batch(commands) => self.batches(commands, false),
            Scenario::BatchKeyed(commands) => self.batches(commands, true),
            _ => self.wallets.iter().map(|id| self.deposit(id, false)).collect(),
        })
    }

    fn deposit(&self, id: &str, has_key: bool) -> Request {
        Request::new("POST", &format!("/api/v1/wallets/{id}/operation"), &self.token, DEPOSIT, has_key)
    }

    fn read(&self, id: &str) -> Request {
        Request::new("GET", &format!("/api/v1/wallets/{id}"), &self.token, "", false)
    }

    fn batches(&self, commands: u32, has_key: bool) -> Vec<Request> {
        (0..BATCHED / commands).map(|number| self.batch(number, commands, has_key)).collect()
    }

    /// Body `number` of the batch route: deposits on wallets spread over all.
    fn batch(&self, number: u32, commands: u32, has_key: bool) -> Request {
        let stride = 7919_usize;
        let begin = usize::try_from(number.wrapping_mul(commands)).unwrap_or_default();
        let count = usize::try_from(commands).unwrap_or_default();
        let chosen = (begin..begin + count).filter_map(|place| {
            let id = self.wallets.get(place.wrapping_mul(stride) % self.wallets.len().max(1))?;
            Some(format!(r#"{{"type":"DEPOSIT","wallet":"{id}","amount":1}}"#))
        });
        let body = format!(r#"{{"atomic":false,"commands":[{}]}}"#, chosen.collect::<Vec<_>>().join(","));
        Request::new("POST", "/api/v1/batches", &self.token, &body, has_key)
    }

    /// One measured run.
    ///
    /// # Errors
    /// A wrong answer under load.
    pub fn run(&self, scenario: Scenario, round: u32) -> Outcome<Run> {
        eprintln!("bench: round {round}: {}", scenario.name());
        let connections = match scenario {
            Scenario::DepositWide(connections)
            | Scenario::Django(_, connections)
            | Scenario::BehindNginx(_, connections) => connections,
            // As many as the deposits that it is beside.
            Scenario::PingBehindNginx(_) => NARROW,
            _ if scenario.operations() > SMALL_BATCH => self.options.batch_connections,
            _ => self.options.connections,
        };
        self.run_load(&self.load(self.requests(scenario), connections), scenario, round)
    }

    /// So many connections that send one of these at random, for the agreed time.
    pub fn load(&self, requests: Arc<Vec<Request>>, connections: u32) -> Load {
        Load {
            ports: self.ports.clone(),
            connections,
            requests,
            warm_up: self.options.warm_up(),
            run_time: self.options.run_time(),
            run_number: next_run_number(),
        }
    }

    fn run_load(&self, load: &Load, scenario: Scenario, round: u32) -> Outcome<Run> {
        let per_answer = scenario.operations();
        if process::is_interrupted() {
            return Err("interrupted".into());
        }
        let mut before = self.usage();
        let sample = self.runtime.block_on(load.run(|| before = self.usage()))?;
        let used = self.usage().since(before);
        if scenario.deposits() {
            self.acknowledge(sample.acknowledged * u64::from(per_answer));
        }
        let answers = f64::from(u32::try_from(sample.answers)?);
        let rate = answers * f64::from(per_answer) / sample.seconds;
        let latency = Some(percentiles(&sample.latency));
        let run = Run::new(scenario, round, rate, latency, (used, sample.seconds));
        Ok(Run { memory_mb: Some(self.memory_mb().0), ..run })
    }

    fn acknowledge(&self, deposits: u64) {
        self.acknowledged.set(self.acknowledged.get() + deposits);
    }

    /// Deposits of 1 that were acknowledged in all runs, those of the warm-ups included.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.get()
    }

    /// The balances of wallets that were opened for these runs must be what was acknowledged.
    ///
    /// # Errors
    /// When they are not.
    pub fn check_balances(&self) -> Outcome<()> {
        let mut found = 0;
        for_each_wallet(Api::on(self.port()), &self.token, |wallet| found += whole(&wallet["balance"]))?;
        let acknowledged = self.acknowledged();
        if found != acknowledged {
            return Err(format!("{acknowledged} deposits of 1 were acknowledged, but the balances are {found}").into());
        }
        Ok(())
    }

    /// The answer to one request of this scenario, to see that it does what is measured.
    ///
    /// # Errors
    /// Any status but 200.
    pub fn try_once(&self, scenario: Scenario) -> Outcome<Value> {
        let requests = self.requests(scenario);
        let request = requests.first().ok_or("there are no wallets")?;
        self.runtime.block_on(async {
            let mut connection = Connection::open(self.port()).await?;
            let mut bytes = Vec::new();
            request.render(&mut bytes, u128::from(next_run_number()) << 96);
            let status = connection.exchange(&bytes).await?.status;
            let body = String::from_utf8_lossy(connection.body()).into_owned();
            if status == 200 {
                if let Scenario::Batch(commands) = scenario {
                    self.acknowledge(commands.into());
                }
                Ok(serde_json::from_str(&body)?)
            } else {
                Err(format!("{}: {status} {body}", scenario.name()).into())
            }
        })
    }

    /// The wallets' ids.
    pub fn wallets(&self) -> &[String] {
        &self.wallets
    }

    /// The user's token.
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// A balance of so many deposits of 1.
fn whole(balance: &Value) -> u64 {
    balance.as_str().and_then(|text| text.strip_suffix(".00")?.parse().ok()).unwrap_or_default()
}

/// Never the same twice, nor that of a program a second ago.
pub fn next_run_number() -> u32 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let start = u32::try_from(seconds & 0x3f_ffff).unwrap_or_default() << 10;
    start.wrapping_add(RUN_NUMBER.fetch_add(1, Ordering::Relaxed))
}

async fn open_wallets(port: u16, token: &str, options: &Options) -> io::Result<Vec<String>> {
    let request = Arc::new(Request::new("POST", "/api/v1/wallets", token, "{}", false));
    let connections = options.connections.min(options.wallets);
    let mut tasks = Vec::new();
    for number in 0..connections {
        let share = options.wallets / connections + u32::from(number < options.wallets % connections);
        tasks.push(tokio::spawn(open_share(port, Arc::clone(&request), share)));
    }
    let mut wallets = Vec::new();
    for task in tasks {
        wallets.extend(task.await.map_err(io::Error::other)??);
    }
    Ok(wallets)
}

async fn open_share(port: u16, request: Arc<Request>, count: u32) -> io::Result<Vec<String>> {
    let mut connection = Connection::open(port).await?;
    let mut wallets = Vec::new();
    for _ in 0..count {
        let status = connection.exchange(request.bytes()).await?.status;
        let body = String::from_utf8_lossy(connection.body()).into_owned();
        let wallet: Value = serde_json::from_str(&body).unwrap_or_default();
        match wallet["id"].as_str() {
            Some(id) if status == 201 => wallets.push(id.to_owned()),
            _ => return Err(io::Error::other(format!("opening a wallet: {status} {body}"))),
        }
    }
    Ok(wallets)
}

/// Every wallet of this user, as the list has it.
fn for_each_wallet(api: Api, token: &str, mut visit: impl FnMut(&Value)) -> Outcome<()> {
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("/api/v1/wallets?limit={PAGE}{cursor}"), token)?;
        let items = page["items"].as_array().ok_or("a page of wallets has no `items`")?;
        items.iter().for_each(&mut visit);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(()),
        }
    }
}
