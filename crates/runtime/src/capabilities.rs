//! What the machine has for this process.

use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
use other as system;

/// Memory that is assumed where the system does not tell: what the smallest supported machine has.
const ASSUMED_TOTAL_BYTES: u64 = 2 << 30;

/// An accelerator. No backend uses one yet, so that the list is always empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Name that the driver gives.
    pub name: String,
    /// Its memory, in bytes.
    pub total_memory_bytes: u64,
    /// What is free of it, in bytes.
    pub free_memory_bytes: u64,
}

/// What the machine has *for this process*: affinity and cgroup limits are taken off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Logical cores that may be used (affinity mask, CPU quota); at least 1.
    pub logical_cores: usize,
    /// Physical cores behind them; between 1 and `logical_cores`.
    pub physical_cores: usize,
    /// Memory of the machine or of the tightest cgroup around this process, in bytes.
    pub total_memory_bytes: u64,
    /// What is available of it without swapping, in bytes; page cache counts as available.
    pub available_memory_bytes: u64,
    /// Accelerators.
    pub devices: Vec<Device>,
}

/// Memory of the machine or of a cgroup, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    total: u64,
    available: u64,
}

/// Which page cache of a cgroup counts as available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cache {
    /// Files that were not used of late: they go without anybody noticing.
    Inactive,
    /// All files: they go before anything is killed.
    All,
}

impl Capabilities {
    /// Asks the system; never fails. What cannot be found out is assumed: one core, 2 GiB.
    pub fn detect() -> Self {
        let logical_cores = logical_cores();
        let physical_cores = system::physical_cores().unwrap_or(logical_cores);
        let memory = system::memory(Cache::Inactive)
            .unwrap_or(Memory { total: ASSUMED_TOTAL_BYTES, available: ASSUMED_TOTAL_BYTES });
        Self {
            logical_cores,
            physical_cores: physical_cores.clamp(1, logical_cores),
            total_memory_bytes: memory.total,
            available_memory_bytes: memory.available,
            devices: Vec::new(),
        }
    }
}

/// Logical cores within affinity and quota; at least 1.
pub(crate) fn logical_cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Bytes that can be taken now before the system kills or swaps, cgroup limits included; `None`
/// where the system does not tell. About 50 µs.
pub fn available_memory_bytes() -> Option<u64> {
    system::memory(Cache::All).map(|memory| memory.available)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_plausible() {
        let found = Capabilities::detect();
        assert!(found.logical_cores >= 1);
        assert!((1..=found.logical_cores).contains(&found.physical_cores));
        assert!(found.total_memory_bytes > 64 << 20);
        assert!(found.available_memory_bytes <= found.total_memory_bytes);
    }

    #[test]
    fn capabilities_survive_json() {
        let found = Capabilities::detect();
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Capabilities>(&text).unwrap(), found);
    }
}
