//! Limits log lines on events that may happen a thousand times a second.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The shortest time between two such lines.
const INTERVAL: Duration = Duration::from_secs(60);

/// Allows one log line a minute, and counts the suppressed ones.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<Throttled>);

#[derive(Debug, Default)]
struct Throttled {
    at: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// Returns the number of suppressed lines since the last one if a line may be written now.
    pub(crate) fn allow(&self) -> Option<u64> {
        self.allow_at(Instant::now())
    }

    fn allow_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
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
    fn a_line_is_allowed_once_a_minute_with_the_number_of_suppressed_ones() {
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
