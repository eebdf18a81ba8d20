//! The machine's randomness: the only place that asks for it.

use std::cell::RefCell;

use florin_app::port::Rng;

/// Bytes that a thread fetches at once: asking the operating system costs more than the bytes do.
const STORE_BYTES: usize = 512;
/// What is asked for in larger pieces does not come from the store.
const SMALL_BYTES: usize = 64;

/// The operating system's generator.
#[derive(Debug)]
pub struct SystemRng;

/// Random bytes not given out yet, at the end; those given out are zero.
struct Store {
    bytes: [u8; STORE_BYTES],
    left: usize,
}

thread_local! {
    static STORE: RefCell<Store> = const { RefCell::new(Store { bytes: [0; STORE_BYTES], left: 0 }) };
}

impl Rng for SystemRng {
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() > SMALL_BYTES {
            fetch(bytes);
            return;
        }
        // A thread that ends has no store any more.
        if STORE.try_with(|store| store.borrow_mut().take(bytes)).is_err() {
            fetch(bytes);
        }
    }
}

impl Store {
    /// No byte is given out twice, and none stays in memory after it was given out.
    fn take(&mut self, into: &mut [u8]) {
        if self.left < into.len() {
            fetch(&mut self.bytes);
            self.left = STORE_BYTES;
        }
        let from = &mut self.bytes[STORE_BYTES - self.left..][..into.len()];
        into.copy_from_slice(from);
        from.fill(0);
        self.left -= into.len();
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the port's one implementation over the machine")]
fn fetch(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        // Keys and tokens made without randomness would be worse than no server at all.
        eprintln!("florin: the operating system gives no randomness: {error}");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_is_given_out_twice() {
        let draw = || {
            (0..10_000).map(|_| {
                let mut bytes = [0_u8; 16];
                SystemRng.fill(&mut bytes);
                bytes
            })
        };
        let elsewhere = std::thread::spawn(move || draw().collect::<Vec<_>>()).join().unwrap();
        let all: HashSet<[u8; 16]> = draw().chain(elsewhere).collect();
        assert_eq!(all.len(), 20_000);
    }

    #[test]
    fn every_length_is_filled_and_what_was_given_out_is_gone() {
        for length in [0, 1, 10, 63, 64, 65, 500, 512, 513, 5000] {
            // A byte may be zero by chance, but not each time.
            let mut seen = vec![0_u8; length];
            for _ in 0..20 {
                let mut bytes = vec![0_u8; length];
                SystemRng.fill(&mut bytes);
                seen.iter_mut().zip(bytes).for_each(|(seen, byte)| *seen |= byte);
            }
            assert!(seen.iter().all(|byte| *byte != 0), "{length}");
        }
        STORE.with_borrow(|store| assert!(store.bytes[..STORE_BYTES - store.left].iter().all(|byte| *byte == 0)));
    }
}
