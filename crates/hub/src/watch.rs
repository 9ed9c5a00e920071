//! A time-out for requests: a server that sends nothing, or only a few bytes a second, is given up.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The fewest bytes that must be received within each time-out: 17 a second for a time-out of a
/// minute.
const LEAST_BYTES: u64 = 1 << 10;

enum Report<T> {
    Bytes(u64),
    Done(T),
}

/// Runs `work` on a thread of its own; `work` reports each number of bytes that came. `None` if
/// fewer than 1024 bytes came within `timeout`, or the thread panicked. The thread is not stopped.
pub(super) fn run_with_timeout<T: Send + 'static>(
    timeout: Duration,
    mut on_bytes: impl FnMut(u64),
    work: impl FnOnce(&dyn Fn(u64)) -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // Sending fails after a time-out, because the receiver is gone.
        let done = work(&|bytes| drop(sender.send(Report::Bytes(bytes))));
        drop(sender.send(Report::Done(done)));
    });
    let (mut since, mut received) = (Instant::now(), 0);
    loop {
        match receiver.recv_timeout(timeout.saturating_sub(since.elapsed())) {
            Ok(Report::Done(done)) => return Some(done),
            Ok(Report::Bytes(bytes)) => {
                on_bytes(bytes);
                received += bytes;
                if received >= LEAST_BYTES {
                    (since, received) = (Instant::now(), 0);
                }
            }
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(500);

    #[test]
    fn silent_and_slow_servers_time_out_and_a_steady_one_does_not() {
        let mut bytes = 0;
        let done = run_with_timeout(
            TIMEOUT,
            |more| bytes += more,
            |report| {
                for _ in 0..6 {
                    thread::sleep(TIMEOUT / 4);
                    report(LEAST_BYTES);
                }
                7
            },
        );
        assert_eq!((done, bytes), (Some(7), 6 * LEAST_BYTES));
        let silent = |_: &dyn Fn(u64)| thread::sleep(TIMEOUT * 10);
        assert_eq!(run_with_timeout(TIMEOUT, |_| {}, silent), None);
        let slow = |report: &dyn Fn(u64)| {
            for _ in 0..40 {
                thread::sleep(TIMEOUT / 4);
                report(1);
            }
        };
        assert_eq!(run_with_timeout(TIMEOUT, |_| {}, slow), None);
    }
}
