//! Makes the site of a board with made-up models, for `scripts/site-check`:
//!
//!     cargo run --release -p lore-board --example planted_site -- SITE MODULES

#[path = "../tests/planted_board/mod.rs"]
mod planted_board;

use std::path::Path;

use lore_board::log::Event;
use lore_board::standing::Standing;
use planted_board::{Answers, Planted, TIME};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, site, modules] = arguments.as_slice() else { return Err("SITE MODULES".into()) };
    let modules: u64 = modules.parse()?;
    let mut planted = Planted::new();
    let learnt: Vec<String> = (0..240).step_by(3).map(|i| i.to_string()).collect();
    for number in 0..modules {
        let name = format!("{}-{number}", ["rivers", "stars", "bones", "laws", "herbs", "tides"][number as usize % 6]);
        let skill = 0.2 + 2.4 * (number as f64 / modules as f64).powi(2);
        match number {
            0 => planted.add("lengths", Answers::Longest),
            1 => planted.add("contaminated", Answers::Learnt(&learnt)),
            2 => planted.add("noisy", Answers::Near(2)),
            3 => planted.add("copied", Answers::Skill(2.6, 4)),
            4 => planted.add("copy-of-copied", Answers::Skill(2.6, 4)),
            _ => planted.add(&name, Answers::Skill(skill, number)),
        };
    }
    let reason = "its texts may hold the questions".to_owned();
    let id = planted.board.state().find("contaminated")?;
    planted.board.note(TIME, Event::Disputed { id, by: "Charles Babbage".into(), reason })?;
    let began = std::time::Instant::now();
    let standing = Standing::of(&planted.board)?;
    let ranked = began.elapsed();
    let made = lore_board::site::build(&planted.board, &standing, Path::new(site), "lore")?;
    println!("{modules} modules: ranked in {ranked:.1?}, {} files, main page {} bytes", made.files, made.main_page);
    Ok(())
}
