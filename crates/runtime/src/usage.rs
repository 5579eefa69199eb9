//! What this process and its children have used: CPU time, memory, bytes read and written.
//!
//! On Linux from `/proc`. Elsewhere only what can be had without `unsafe`: `None` means unknown.

#[cfg(target_os = "linux")]
mod proc;

/// What was used up to now, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time of this process, of its live children and of those waited for.
    pub cpu_secs: Option<f64>,
    /// Resident memory of this process and its live children, in bytes.
    pub rss_bytes: Option<u64>,
    /// Bytes read: asked of the system, or fetched from storage for mapped files, if that is more.
    pub read_bytes: Option<u64>,
    /// Bytes written, likewise.
    pub written_bytes: Option<u64>,
}

impl Usage {
    /// Asks the system; never fails.
    pub fn now() -> Self {
        #[cfg(target_os = "linux")]
        return proc::usage();
        #[cfg(not(target_os = "linux"))]
        return Self { cpu_secs: cpu_secs(), ..Self::default() };
    }
}

/// CPU seconds (user and system) of this process and its children, live or waited for.
pub fn cpu_secs() -> Option<f64> {
    #[cfg(target_os = "linux")]
    return proc::cpu_secs();
    #[cfg(all(unix, not(target_os = "linux")))]
    return Some(own_cpu_secs());
    #[cfg(not(unix))]
    return None;
}

/// Highest resident memory of this process since it started, plus that of its live children, in
/// bytes. An upper bound: the peaks need not have been at the same time.
pub fn peak_rss_bytes() -> Option<u64> {
    #[cfg(target_os = "linux")]
    return proc::peak_rss_bytes();
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// Highest resident memory of the process `pid`, in bytes.
pub(crate) fn peak_rss_of(pid: u32) -> Option<u64> {
    #[cfg(target_os = "linux")]
    return proc::peak_rss_of(pid);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pid;
        None
    }
}

/// CPU seconds of this process alone, to the nanosecond.
#[cfg(unix)]
fn own_cpu_secs() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
