//! Turns panics of libraries that read damaged files into errors.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Calls a library that is known to panic on damaged files. A panic becomes an error with the
/// panic's message, and the message is not printed.
pub fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    silence_caught_panics();
    // Inside another call of `caught` the flag stays set afterwards.
    let outer = CATCHING.replace(true);
    // Values that a panic may leave half changed belong to `call`, and are not used afterwards.
    let outcome = panic::catch_unwind(AssertUnwindSafe(call));
    CATCHING.set(outer);
    outcome.map_err(|panic| panic_message(&*panic))
}

/// Sets a panic hook that prints nothing inside [`caught`]. Panics of other threads, and outside of
/// [`caught`], are printed as before.
fn silence_caught_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !CATCHING.get() {
                before(panic);
            }
        }));
    });
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("its reader fails: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        assert_eq!(caught(|| 3), Ok(3));
        let text = caught(|| -> u8 { panic!("no entry {}", 7) });
        assert_eq!(text, Err("its reader fails: no entry 7".to_owned()));
        assert!(!CATCHING.get());
    }
}
