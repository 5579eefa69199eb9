//! Systems other than Linux, through `sysinfo`.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::{Cache, Memory};

/// Memory of the machine, if the system tells.
pub(super) fn memory(_: Cache) -> Option<Memory> {
    let refresh = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(refresh);
    let total = system.total_memory();
    (total > 0).then(|| Memory { total, available: system.available_memory().min(total) })
}

/// Physical cores of the machine; affinity is not known here.
pub(super) fn physical_cores() -> Option<usize> {
    System::physical_core_count()
}
