//! Where the time goes, by operation; off unless it is asked for.
//!
//! While [`start`]ed, every operation adds the time its forward and backward passes take, without what other
//! operations took inside it, so that the entries add up.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What an operation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Forward passes.
    pub forward: Duration,
    /// Backward passes.
    pub backward: Duration,
    /// Forward passes made.
    pub calls: u64,
}

#[derive(Clone, Copy)]
pub(super) enum Pass {
    Forward,
    Backward,
}

static ON: AtomicBool = AtomicBool::new(false);
static COSTS: Mutex<BTreeMap<&'static str, Cost>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// Time that operations inside the running one have taken on this thread.
    static INSIDE: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Begins to measure, from zero.
pub fn start() {
    costs().clear();
    ON.store(true, Ordering::Relaxed);
}

/// Ends measuring; what every operation took since [`start`], by name.
pub fn stop() -> BTreeMap<&'static str, Cost> {
    ON.store(false, Ordering::Relaxed);
    std::mem::take(&mut *costs())
}

fn costs() -> std::sync::MutexGuard<'static, BTreeMap<&'static str, Cost>> {
    COSTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs a pass of the operation of type `F`.
pub(super) fn timed<F, T>(pass: Pass, work: impl FnOnce() -> T) -> T {
    if !ON.load(Ordering::Relaxed) {
        return work();
    }
    let outer = INSIDE.replace(Duration::ZERO);
    let began = Instant::now();
    let result = work();
    let elapsed = began.elapsed();
    let own = elapsed.saturating_sub(INSIDE.get());
    INSIDE.set(outer + elapsed);
    let full = std::any::type_name::<F>();
    let mut costs = costs();
    let cost = costs.entry(full.rsplit("::").next().unwrap_or(full)).or_default();
    match pass {
        Pass::Forward => {
            cost.forward += own;
            cost.calls += 1;
        }
        Pass::Backward => cost.backward += own,
    }
    drop(costs);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    struct Outer;
    struct Inner;

    #[test]
    fn time_inside_another_operation_counts_once() {
        let pause = Duration::from_millis(5);
        let began = Instant::now();
        start();
        timed::<Outer, _>(Pass::Forward, || {
            sleep(pause);
            timed::<Inner, _>(Pass::Backward, || sleep(pause));
            timed::<Inner, _>(Pass::Forward, || ());
        });
        let (costs, whole) = (stop(), began.elapsed());
        timed::<Outer, _>(Pass::Forward, || ());
        assert_eq!((costs["Outer"].calls, costs["Inner"].calls), (1, 1));
        assert!(costs["Inner"].backward >= pause && costs["Outer"].forward >= pause);
        let sum: Duration = costs.values().map(|cost| cost.forward + cost.backward).sum();
        assert!(sum <= whole, "{sum:?} of {whole:?}");
        assert_eq!(costs["Outer"].backward, Duration::ZERO);
        assert!(stop().is_empty(), "nothing is measured when it is off");
    }
}
