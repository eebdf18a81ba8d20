//! What happens when things break: processes killed, disks full, databases gone.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on stops, and says what it did"
)]

mod asked;
mod backup;
mod batch_race;
mod client;
mod clock;
mod cluster;
mod commit_cut;
mod import;
mod kill;
mod load;
mod network;
mod nginx;
mod nodes;
mod outage;
mod postgres_faults;
mod proxy;
mod seeded;
mod server;
mod slow_disk;
mod stale_reads;
mod standby;
mod torn_log;
mod wal;
