//! What begins with `/` in a conversation.

use lore_serve::{Engine, Wanted, model_name};

use super::{Conversation, check_names};
use crate::on_demand::{Modules, parse_modules};
use crate::quantity;
use crate::session::Session;

const HELP: &str = "\
/modules              the library's modules: which are active, in memory, and their size
/load NAME[=WEIGHT]   make a module active, or give it another weight
/load auto            let the library's router choose for every question
/drop NAME            make a module inactive; without a name, all of them
/reset                begin a new conversation
/help                 this list
/quit                 end, as Ctrl-D does";

/// A line that was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// White space.
    Nothing,
    /// The end.
    Quit,
    /// `/..`, without the slash.
    Command(String),
    /// Anything else.
    Said(String),
}

pub(super) fn read_line(line: &str) -> Line {
    match line.trim() {
        "" => Line::Nothing,
        "/quit" | "/exit" => Line::Quit,
        text => match text.strip_prefix('/') {
            Some(command) => Line::Command(command.to_owned()),
            None => Line::Said(text.to_owned()),
        },
    }
}

/// Does what a command says and tells what came of it on stderr.
pub(super) fn run(command: &str, conversation: &mut Conversation, engine: &Engine, session: &Session) {
    let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let told = match (name, argument.trim()) {
        ("help", "") => Ok(HELP.to_owned()),
        ("modules", "") => modules(conversation, engine),
        ("load", argument) if !argument.is_empty() => load(argument, conversation, engine),
        ("drop", argument) => drop_module(argument, conversation),
        ("reset", "") => {
            conversation.restart();
            Ok("a new conversation".to_owned())
        }
        _ => Err(format!("there is no command /{}; /help lists them", command.escape_debug())),
    };
    match told {
        Ok(text) => session.progress.note(&text),
        Err(problem) => eprintln!("{problem}"),
    }
}

fn load(argument: &str, conversation: &mut Conversation, engine: &Engine) -> Result<String, String> {
    match parse_modules(argument)? {
        Modules::Auto if engine.auto() => conversation.wanted = Wanted::Auto,
        Modules::Auto => return Err("`auto` needs a router, and this library has none".to_owned()),
        Modules::Set(more) => {
            check_names(engine, &more).map_err(|error| error.to_string())?;
            let set = more.modules().iter().fold(conversation.set(), |set, (name, weight)| set.with(name, *weight));
            conversation.wanted = Wanted::Set(set);
        }
    }
    Ok(format!("from the next question on: {}", super::shown(&conversation.wanted)))
}

fn drop_module(name: &str, conversation: &mut Conversation) -> Result<String, String> {
    let set = conversation.set();
    let rest = match name {
        "" => lore_modules::on_demand::ModuleSet::none(),
        name => set.without(name),
    };
    if !name.is_empty() && rest == set {
        return Err(format!("`{}` is not active", name.escape_debug()));
    }
    let text = format!("from the next question on: {}", model_name(&rest));
    conversation.wanted = Wanted::Set(rest);
    Ok(text)
}

fn modules(conversation: &Conversation, engine: &Engine) -> Result<String, String> {
    let (status, set) = (engine.status(), conversation.set());
    let mut rows = Vec::new();
    for name in engine.folders()?.into_keys() {
        let weight = set.modules().iter().find(|(other, _)| *other == name).map(|(_, weight)| weight.to_string());
        let bytes = status.resident.iter().find(|held| held.name == name).map(|held| quantity::bytes(held.bytes));
        rows.push(vec![name, weight.unwrap_or_default(), bytes.unwrap_or_else(|| "on disk".to_owned())]);
    }
    if rows.is_empty() {
        return Ok("the library is empty".to_owned());
    }
    let taken = status.resident.iter().map(|held| held.bytes).sum();
    let table = crate::table::lines(&["module", "weight", "in memory"], &rows, 1);
    Ok(format!("{table}{} of {} in memory", quantity::bytes(taken), quantity::bytes(status.cap)))
}

#[cfg(test)]
mod tests {
    use super::{Line, read_line};

    #[test]
    fn lines_are_told_apart() {
        assert_eq!(read_line(" \n"), Line::Nothing);
        assert_eq!(read_line("/quit\n"), Line::Quit);
        assert_eq!(read_line("/load a=1\n"), Line::Command("load a=1".to_owned()));
        assert_eq!(read_line("1/2?\r\n"), Line::Said("1/2?".to_owned()));
    }
}
