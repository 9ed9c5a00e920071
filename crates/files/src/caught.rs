//! Panics of libraries that meet files which they do not expect, as errors.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Calls a library that is known to panic on broken files. A panic becomes an error with the
/// panic's message, which is not printed.
pub fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    spare_the_terminal();
    // A call within a call leaves the outer one catching.
    let outer = CATCHING.replace(true);
    // What a panic may leave half done belongs to `call` and is not used any more.
    let outcome = panic::catch_unwind(AssertUnwindSafe(call));
    CATCHING.set(outer);
    outcome.map_err(|panic| said(&*panic))
}

/// Panics of other threads, and outside of [`caught`], are reported as before.
fn spare_the_terminal() {
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

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("its reader fails: {}", text.unwrap_or("without saying why"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_says_what_it_said() {
        assert_eq!(caught(|| 3), Ok(3));
        let text = caught(|| -> u8 { panic!("no entry {}", 7) });
        assert_eq!(text, Err("its reader fails: no entry 7".to_owned()));
        assert!(!CATCHING.get());
    }
}
