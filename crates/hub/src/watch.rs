//! A time-out for downloads: a server that sends nothing, or a byte a second, is given up.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The fewest bytes that must come within each time-out; with one of a minute, 17 a second.
const LEAST_BYTES: u64 = 1 << 10;

enum News<T> {
    Bytes(u64),
    Done(T),
}

/// Does work on a thread of its own, which tells how many bytes came. `None` where for as long as
/// `patience` hardly any did, or the thread panicked; the thread is then left to itself.
pub(super) fn watched<T: Send + 'static>(
    patience: Duration,
    mut on_bytes: impl FnMut(u64),
    work: impl FnOnce(&dyn Fn(u64)) -> T + Send + 'static,
) -> Option<T> {
    let (tell, hear) = mpsc::channel();
    thread::spawn(move || {
        // Nobody listens any more where patience has ended.
        let done = work(&|bytes| drop(tell.send(News::Bytes(bytes))));
        drop(tell.send(News::Done(done)));
    });
    let (mut since, mut came) = (Instant::now(), 0);
    loop {
        match hear.recv_timeout(patience.saturating_sub(since.elapsed())) {
            Ok(News::Done(done)) => return Some(done),
            Ok(News::Bytes(bytes)) => {
                on_bytes(bytes);
                came += bytes;
                if came >= LEAST_BYTES {
                    (since, came) = (Instant::now(), 0);
                }
            }
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(500);

    #[test]
    fn silence_and_dripping_end_and_a_stream_goes_on() {
        let mut bytes = 0;
        let done = watched(
            PATIENCE,
            |more| bytes += more,
            |tell| {
                for _ in 0..6 {
                    thread::sleep(PATIENCE / 4);
                    tell(LEAST_BYTES);
                }
                7
            },
        );
        assert_eq!((done, bytes), (Some(7), 6 * LEAST_BYTES));
        let silent = |_: &dyn Fn(u64)| thread::sleep(PATIENCE * 10);
        assert_eq!(watched(PATIENCE, |_| {}, silent), None);
        let dripping = |tell: &dyn Fn(u64)| {
            for _ in 0..40 {
                thread::sleep(PATIENCE / 4);
                tell(1);
            }
        };
        assert_eq!(watched(PATIENCE, |_| {}, dripping), None);
    }
}
