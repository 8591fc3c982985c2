//! Log lines about what may happen a thousand times a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Minimum interval between two such lines.
const INTERVAL: Duration = Duration::from_secs(60);

/// Lets a line be written now and then, and counts how often it was not.
#[derive(Debug, Default)]
pub struct LogThrottle(Mutex<Throttled>);

#[derive(Debug, Default)]
struct Throttled {
    at: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// Returns whether a line may be written now; if so, how many were suppressed since the last
    /// one.
    pub fn allow(&self) -> Option<u64> {
        self.allow_at(Instant::now())
    }

    fn allow_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let soon = |at: Instant| now.saturating_duration_since(at) < INTERVAL;
        if state.at.is_some_and(soon) {
            state.suppressed += 1;
            return None;
        }
        state.at = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_once_a_minute_with_its_number() {
        let throttle = LogThrottle::default();
        let began = Instant::now();
        assert_eq!(throttle.allow_at(began), Some(0));
        for second in 0..60 {
            assert_eq!(throttle.allow_at(began + Duration::from_secs(second)), None);
        }
        assert_eq!(throttle.allow_at(began + INTERVAL), Some(60));
        assert_eq!(throttle.allow_at(began + INTERVAL * 2), Some(0));
    }
}
