//! A program inside the guest that takes memory: `hog MIB MIB_PER_S`. It touches every page, then keeps what it has.

use std::time::{Duration, Instant};

fn main() {
    let number = |position: usize| -> u64 {
        let word = std::env::args().nth(position).unwrap_or_default();
        word.parse().expect("hog MIB MIB_PER_S")
    };
    let (total, rate) = (number(1), number(2));
    let began = Instant::now();
    let mut taken: Vec<Vec<u8>> = Vec::new();
    for mib in 1..=total {
        taken.push(vec![mib as u8; 1 << 20]);
        let due = Duration::from_secs_f64(mib as f64 / rate as f64);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    println!("has {total} MiB");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
