//! Writes an invented report for looking at its layout: `cargo run --release -p lore-eval --example report -- FOLDER [TOPICS]`.

#[path = "../tests/report_outputs/fixture.rs"]
mod fixture;

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| String::from(".")));
    let topics: usize = arguments.next().map_or(Ok(3), |count| count.parse())?;
    let report = fixture::report(topics.min(10));
    std::fs::create_dir_all(&folder)?;
    let written = lore_eval::report::write(&folder, &report)?;
    print!("{}", lore_eval::report::render_terminal(&report, true));
    println!("\n{}", written.html.display());
    Ok(())
}
