//! A recipe that runs in seconds and fetches nothing: a random two-block teacher, two topics of made-up text.

use std::fmt::Write as _;

use super::Workbench;

/// Its general text is long enough to be interrupted; the base has one of the teacher's two blocks.
pub const RECIPE: &str = r#"
name = "tiny"
seed = 3

[teacher]
source = "file:teacher"
license = "MIT"

[general]
tokens = 6000
sequence_length = 40
split = { validation = 0.05, test = 0.2 }

[general.sample]
batch = 16
openings = ["the rain", "one ring and", "a thin thing"]

[base]
name = "tiny-base"
depth = { first = 1, last = 0 }

[base.train]
steps = 60
batch_sequences = 4
sequence_length = 40
warmup_steps = 2
checkpoint_every = 3

[modules]
lora = { rank = 2, alpha = 2 }

[modules.train]
steps = 60
batch_sequences = 4
sequence_length = 40
learning_rate = 1e-3
warmup_steps = 2
checkpoint_every = 3

[evaluate]
tokens_per_text = 400
passage_tokens = 40
probe_tokens = 8
sample_tokens = 6

[[topic]]
name = "rivers"
source = "file:rivers"
extract = { format = "text", files = ["*.txt"] }
split = { validation = 0.05, test = 0.2 }
prompts = ["the river"]

[[topic]]
name = "hills"
source = "file:hills"
extract = { format = "text", files = ["*.txt"] }
split = { validation = 0.05, test = 0.2 }
prompts = ["the hill"]
module = { lora = { rank = 3 } }
"#;

/// Every stage, in order.
pub const STAGES: [&str; 12] = [
    "fetch:teacher",
    "fetch:rivers",
    "fetch:hills",
    "teacher",
    "topic:rivers",
    "topic:hills",
    "general",
    "base",
    "module:rivers",
    "module:hills",
    "evaluate",
    "report",
];

/// Writes the recipe, the teacher and the texts.
pub fn tiny_run() -> Workbench {
    let bench = Workbench::new();
    bench.model("tiny-llama", "teacher");
    bench.write("recipe.toml", RECIPE);
    for number in 0..40 {
        bench.write(&format!("rivers/{number}.txt"), text(number, "river", "runs to the sea past the mill"));
        bench.write(&format!("hills/{number}.txt"), text(number, "hill", "stands above the town and the fields"));
    }
    bench
}

fn text(number: usize, noun: &str, what: &str) -> String {
    let mut text = String::new();
    for sentence in 0..4 {
        writeln!(text, "The {noun} of valley {number}, seen for the {}th time, {what}.", sentence + 4)
            .expect("a String takes all text");
    }
    text
}
