//! Several nodes on one PostgreSQL: behind nginx, killed at any moment; and not waiting for each other.

use std::thread;

use crate::{
    client::Client,
    cluster::{Cluster, Place, programs},
    kill::{rounds, seed},
    load::Load,
    nginx::{self, Nginx},
    server::{Database, Server, prove, steady_port},
};

/// Operations acknowledged, at the most, before a node dies, while it is dead, and after it is back.
const STEP: u64 = 80;
/// Operations of each node while waits are counted.
const COUNTED: u64 = 200;

/// One of the nodes dies in every round, while the others go on; it comes back under load.
fn kill_rounds_behind_nginx(nodes: u16) {
    let Some(program) = nginx::program() else { return };
    let Some(fresh) = florin_testkit::postgres::fresh_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Postgres(fresh.url().to_owned(), folder.path().to_owned());
    let ports: Vec<u16> = (0..nodes).map(|_| steady_port()).collect();
    let start = |node: u16| Server::start_at(&database, node, ports[usize::from(node)]);
    let mut servers: Vec<Server> = (0..nodes).map(start).collect();
    let nginx = Nginx::start(&program, &ports);
    let seed = seed();
    let mut load = Load::new(seed);
    load.prepare(&nginx.base);
    for round in 0..rounds().div_ceil(10) {
        let victim = u16::try_from((seed ^ round.wrapping_mul(0x9e37_79b9)) % u64::from(nodes)).unwrap();
        load.run_on(&[&nginx.base], || {
            load.await_more(STEP);
            servers[usize::from(victim)].kill();
            load.await_more(STEP);
            servers[usize::from(victim)] = start(victim);
            load.await_more(STEP);
        });
        load.compare(&nginx.base, round);
    }
    for server in &mut servers {
        server.stop();
    }
    prove(&database);
    println!("{}", load.summary());
}

#[test]
fn two_postgres_nodes_behind_nginx_lose_nothing_when_one_is_killed() {
    kill_rounds_behind_nginx(2);
}

#[test]
fn three_postgres_nodes_behind_nginx_lose_nothing_when_one_is_killed() {
    kill_rounds_behind_nginx(3);
}

/// How many wallets a node was asked for.
fn reads(server: &Server) -> u64 {
    let metrics = ureq::get(format!("{}/metrics", server.base)).call().unwrap().body_mut().read_to_string().unwrap();
    let is_read = |line: &&str| line.contains("method=\"GET\"") && line.contains("wallets");
    let lines = metrics.lines().filter(|line| line.starts_with("florin_http_requests_total")).filter(is_read);
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// What a node wrote last it need not ask for again, as long as the next request for the wallet comes to it, too.
#[test]
fn nginx_keeps_a_wallet_on_one_of_two_postgres_nodes_until_that_is_gone() {
    const READS: u64 = 40;
    let Some(program) = nginx::program() else { return };
    let Some(fresh) = florin_testkit::postgres::fresh_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Postgres(fresh.url().to_owned(), folder.path().to_owned());
    let ports = [steady_port(), steady_port()];
    let mut servers = [0, 1].map(|node: u16| Server::start_at(&database, node, ports[usize::from(node)]));
    let nginx = Nginx::start(&program, &ports);
    let client = Client::with_wallet(&nginx.base);
    let before = [reads(&servers[0]), reads(&servers[1])];
    (0..READS).for_each(|_| assert_eq!(client.balance_minor(), 0));
    let grown = [reads(&servers[0]) - before[0], reads(&servers[1]) - before[1]];
    assert!(grown == [READS, 0] || grown == [0, READS], "{grown:?}");
    servers[usize::from(grown[1] > 0)].kill();
    // A read is repeated at the other node, which nginx then knows to be the one that answers.
    assert_eq!(client.balance_minor(), 0);
    assert_eq!(client.deposit().0, 200);
    assert_eq!(client.balance_minor(), 100);
}

/// How often a row's lock was waited for, a millisecond or longer, while two nodes with these numbers were busy, each
/// with wallets of its own: all that they have in common is what belongs to the system.
fn waits(cluster: &Cluster, name: &str, nodes: [u16; 2]) -> usize {
    cluster.sql(&format!("CREATE DATABASE {name}"));
    let url = format!("postgres://postgres@{}:{}/{name}", cluster.place.host, cluster.place.port);
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Postgres(url, folder.path().to_owned());
    let mut servers = nodes.map(|node| Server::start(&database, node));
    let mut loads = [Load::new(seed()), Load::new(seed() + 1)];
    for (load, server) in loads.iter_mut().zip(&servers) {
        load.prepare(&server.base);
    }
    let before = cluster.log().len();
    thread::scope(|scope| {
        for (load, server) in loads.iter().zip(&servers) {
            scope.spawn(|| load.run_on(&[&server.base], || (0..2).for_each(|_| load.await_more(COUNTED))));
        }
    });
    let log = cluster.log();
    for (load, server) in loads.iter().zip(&mut servers) {
        load.compare(&server.base, 0);
        server.stop();
    }
    prove(&database);
    let is_row = |line: &&str| line.contains("Lock on transaction") || line.contains("Lock on tuple");
    log[before..].lines().filter(|line| line.contains("still waiting for")).filter(is_row).count()
}

#[test]
fn postgres_nodes_do_not_wait_for_each_other_on_what_belongs_to_the_system() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, Place::local(), &["log_lock_waits=on", "deadlock_timeout=1ms"]);
    assert_eq!(waits(&cluster, "apart", [0, 1]), 0, "each node has its own chain and its own stripes");
    assert!(waits(&cluster, "same", [0, 0]) > 0, "nodes of one number share both, and this is how it would look");
}
