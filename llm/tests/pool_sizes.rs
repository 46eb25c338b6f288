//! More memory never makes a model unloadable, nor leaves it less context than a conversation needs.

mod common;

use common::tiny::model;
use llm::clock::StdClock;
use llm::engine::{Engine, LoadOptions, Variant};
use llm::gguf::{GgmlType, Gguf};
use llm::pool::Pool;
use llm::threads::Threads;

#[test]
fn what_loads_in_a_pool_loads_in_a_larger_one() {
    let (threads, clock) = (Threads::new(1), StdClock::new());
    for variant in [None, Some(Variant::Avx2), Some(Variant::Sse2)] {
        let (file, _) = model(GgmlType::Q4_1, true);
        let mut context = 0;
        let mut loaded = 0;
        for size in (0..400).map(|step| step * 8192) {
            // What a pool held before must not matter, in debug builds too.
            let mut memory = vec![0x7Fu8; size];
            let options = LoadOptions { variant, ..LoadOptions::default() };
            let gguf = Gguf::parse(&file).unwrap();
            match Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options) {
                Ok(mut engine) => {
                    let found = engine.info().context;
                    assert!(
                        found >= context.min(2048),
                        "{size} bytes: {found} positions, {context} with less"
                    );
                    context = found;
                    loaded += 1;
                    engine.logits(&[1, 2, 3]).unwrap();
                }
                Err(error) => assert_eq!(loaded, 0, "{size} bytes: {error}, but less was enough"),
            }
        }
        assert!(loaded > 50, "{loaded} sizes were enough");
    }
}
