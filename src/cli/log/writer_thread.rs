//! Writes log lines on a thread of its own.
//!
//! The reader of stderr may stop reading: a pipe holds 64 KiB, and then a write to it blocks.
//! So this thread writes, and no session. `tracing-appender` does the same, but its message about
//! a late end goes to the pipe that is stuck.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The size of the queue in octets; further lines are dropped.
const WAITING_OCTETS: usize = 4 * 1024 * 1024;

/// Timeout for the last lines when the program ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The queue of lines for the thread.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Lines(Arc<Queue>);

/// Writes the queued lines when it is dropped, as far as stderr is read.
#[derive(Debug)]
pub(in crate::cli) struct Flush(Lines);

#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    dropped: AtomicU64,
    most: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    octets: usize,
    /// True while the thread writes lines that it has taken out.
    is_writing: bool,
}

impl Lines {
    /// Starts the thread, which writes to stderr.
    ///
    /// # Errors
    /// If the system refuses.
    pub(in crate::cli) fn to_stderr() -> io::Result<(Self, Flush)> {
        // The standard library's stderr has a lock, which a thread that panics would wait for.
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Self::to(stderr, WAITING_OCTETS)
    }

    fn to(output: impl Write + Send + 'static, most: usize) -> io::Result<(Self, Flush)> {
        let lines = Self(Arc::new(Queue {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
            most,
        }));
        let queue = Arc::clone(&lines.0);
        let thread = std::thread::Builder::new().name("log".into());
        thread.spawn(move || queue.write_all(output))?;
        let flush = Flush(lines.clone());
        Ok((lines, flush))
    }

    /// Returns how many lines have been dropped.
    pub(in crate::cli) fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }

    /// Returns true if there is room again after lines were dropped.
    pub(in crate::cli) fn flows(&self) -> bool {
        self.0.waiting().octets < self.0.most / 2
    }
}

/// Each write is a line.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.waiting();
        if waiting.octets + line.len() > self.0.most {
            self.0.dropped.fetch_add(1, Relaxed);
        } else {
            waiting.octets += line.len();
            waiting.lines.push_back(line.to_owned());
            drop(waiting);
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let Self(Lines(queue)) = self;
        let is_busy = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        let waited = queue
            .changed
            .wait_timeout_while(queue.waiting(), FLUSH_TIMEOUT, is_busy);
        drop(waited);
    }
}

impl Queue {
    fn write_all(&self, mut output: impl Write) {
        loop {
            let mut waiting = self.waiting();
            waiting.is_writing = false;
            self.changed.notify_all();
            while waiting.lines.is_empty() {
                let woken = self.changed.wait(waiting);
                waiting = woken.unwrap_or_else(PoisonError::into_inner);
            }
            waiting.is_writing = true;
            waiting.octets = 0;
            let lines = std::mem::take(&mut waiting.lines);
            drop(waiting);
            for line in lines {
                // An error can't be reported anywhere.
                let _ = output.write_all(&line);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// An output that accepts a line when the test allows it, and passes it on to the test.
    struct Slow(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            self.1.send(line.to_owned()).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_wait_for_a_slow_reader_up_to_so_many_octets_and_then_are_dropped_and_counted() {
        let ((allow, allowed), (show, shown)) = (channel(), channel());
        let (mut lines, flush) = Lines::to(Slow(allowed, show), 10).unwrap();
        lines.write_all(b"first\n").unwrap();
        // The thread has taken it, and waits for its reader.
        while !lines.0.waiting().is_writing {
            std::thread::yield_now();
        }
        for _ in 0..10 {
            lines.write_all(b"next\n").unwrap();
        }
        assert_eq!(lines.dropped(), 8);
        assert!(!lines.flows());
        for _ in 0..3 {
            allow.send(()).unwrap();
        }
        let written: Vec<_> = (0..3).map(|_| shown.recv().unwrap()).collect();
        assert_eq!(written.concat(), b"first\nnext\nnext\n");
        assert!(lines.flows());
        for _ in 0..2 {
            lines.write_all(b"last\n").unwrap();
            allow.send(()).unwrap();
        }
        drop(flush);
        let written: Vec<_> = shown.try_iter().collect();
        assert_eq!(written.concat(), b"last\nlast\n");
        assert_eq!(lines.dropped(), 8);
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_reads_nothing() {
        let ((_allow, allowed), (show, _shown)) = (channel(), channel());
        let (mut lines, flush) = Lines::to(Slow(allowed, show), 100).unwrap();
        lines.write_all(b"first\n").unwrap();
        drop(flush);
    }
}
