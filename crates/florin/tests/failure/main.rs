//! What happens when things break: processes killed, disks full, databases gone.

mod client;
mod kill;
mod load;
mod outage;
mod proxy;
mod server;
