//! What the machine is, and who used its processors: from `/proc`.

use std::fs;
use std::thread;

use serde_json::{Value, json};

use super::run::rounded;

/// Linux counts processor time in hundredths of a second, whatever the kernel's own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// By this program and the programs it ran.
    pub client_s: f64,
    /// By the server, or all of them.
    pub server_s: f64,
    /// By the database's processes; 0 where it is inside the server.
    pub database_s: f64,
    /// By everything on the machine.
    pub machine_s: f64,
}

impl Usage {
    /// Usage now.
    pub fn now(servers: &[u32], database_pid: Option<u32>) -> Self {
        Self {
            client_s: seconds_of(std::process::id()),
            server_s: servers.iter().map(|pid| seconds_of(*pid) + children_of(*pid)).sum(),
            database_s: database_pid.map_or(0.0, |pid| seconds_of(pid) + children_of(pid)),
            machine_s: machine_seconds(),
        }
    }

    /// What was used since `earlier`. Processes that ended meanwhile count once they were waited for.
    pub fn since(self, earlier: Self) -> Self {
        let difference = |now: f64, then: f64| (now - then).max(0.0);
        Self {
            client_s: difference(self.client_s, earlier.client_s),
            server_s: difference(self.server_s, earlier.server_s),
            database_s: difference(self.database_s, earlier.database_s),
            machine_s: difference(self.machine_s, earlier.machine_s),
        }
    }

    /// For the file of raw figures.
    pub fn to_json(self) -> Value {
        json!({
            "client": rounded(self.client_s),
            "server": rounded(self.server_s),
            "database": rounded(self.database_s),
            "others": rounded(self.others_s()),
        })
    }

    /// What nobody of ours used.
    pub fn others_s(self) -> f64 {
        (self.machine_s - self.client_s - self.server_s - self.database_s).max(0.0)
    }
}

/// Processors.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Memory of a process that is in use now and was at most, megabytes (millions of bytes); zeros when it is gone.
pub fn memory_mb(pid: u32) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    (megabytes_in(&status, "VmRSS:"), megabytes_in(&status, "VmHWM:"))
}

fn megabytes_in(status: &str, name: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    ticks(line.split_whitespace().next()) * 1024.0 / 1e6
}

/// The machine in a few words, for the results.
pub fn describe() -> Value {
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    json!({
        "processor": model.trim_start_matches([' ', '\t', ':']),
        "processors": processors(),
        "memory": memory.lines().next().and_then(|line| line.split_once(':')).map(|(_, size)| size.trim()),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
    })
}

fn ticks(text: Option<&str>) -> f64 {
    text.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// The fields of `/proc/<pid>/stat` after the name, which may hold blanks: the parent is field 1, the four times 11–14.
fn stat_of(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Of the process and of the children that it has waited for.
fn seconds_of(pid: u32) -> f64 {
    let Some(fields) = stat_of(pid) else { return 0.0 };
    (11..=14).map(|place| ticks(fields.get(place).map(String::as_str))).sum::<f64>() / TICKS_PER_SECOND
}

fn children_of(pid: u32) -> f64 {
    let parent = pid.to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|child| stat_of(*child).is_some_and(|fields| fields.get(1) == Some(&parent))).map(seconds_of).sum()
}

/// User, nice and system time of all processors. Interrupts are left out: most of them are our own traffic.
fn machine_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let total = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(3);
    total.map(|number| ticks(Some(number))).sum::<f64>() / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_millions_of_bytes() {
        assert!((megabytes_in("Name:\tx\nVmRSS:\t  2000 kB\n", "VmRSS:") - 2.048).abs() < 1e-9);
        assert!(memory_mb(std::process::id()).0 > 1.0);
    }

    #[test]
    fn our_own_time_grows_and_is_part_of_the_machines() {
        let before = Usage::now(&[], None);
        let mut sum = 0_u64;
        while Usage::now(&[], None).since(before).client_s < 0.05 {
            sum = (0..1_000_000_u64).fold(sum, |sum, number| sum.wrapping_mul(31).wrapping_add(number));
        }
        let used = Usage::now(&[], None).since(before);
        assert!(used.machine_s > 0.0, "{used:?} {sum}");
        assert!(used.server_s.abs() < f64::EPSILON);
    }
}
