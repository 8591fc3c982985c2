//! Log lines about what may happen a thousand times a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often one such line is written at most.
const INTERVAL: Duration = Duration::from_secs(60);

/// Lets a line be written now and then, and counts how often it was not.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    at: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Is it time to say it? If so, how often it happened unsaid since it was said last.
    pub fn say(&self) -> Option<u64> {
        self.say_at(Instant::now())
    }

    fn say_at(&self, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let soon = |at: Instant| now.saturating_duration_since(at) < INTERVAL;
        if said.at.is_some_and(soon) {
            said.unsaid += 1;
            return None;
        }
        said.at = Some(now);
        Some(std::mem::take(&mut said.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_once_a_minute_with_its_number() {
        let seldom = Seldom::default();
        let began = Instant::now();
        assert_eq!(seldom.say_at(began), Some(0));
        for second in 0..60 {
            assert_eq!(seldom.say_at(began + Duration::from_secs(second)), None);
        }
        assert_eq!(seldom.say_at(began + INTERVAL), Some(60));
        assert_eq!(seldom.say_at(began + INTERVAL * 2), Some(0));
    }
}
