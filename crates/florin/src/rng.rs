//! The machine's randomness: the only place that asks for it.

use florin_app::port::Rng;

/// The operating system's generator.
#[derive(Debug)]
pub struct SystemRng;

impl Rng for SystemRng {
    #[expect(clippy::disallowed_methods, reason = "this is the port's one implementation over the machine")]
    fn fill(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            // Keys and tokens made without randomness would be worse than no server at all.
            eprintln!("florin: the operating system gives no randomness: {error}");
            std::process::abort();
        }
    }
}
