//! How the author is asked.

use lore_model::chat::Message;

use super::Kind;
use super::author::Turn;

/// How a reply begins, so that even a small model keeps to the form.
fn beginning(kind: Kind) -> &'static str {
    match kind {
        Kind::Question => "Question:",
        Kind::Paraphrase => "In other words:",
        Kind::Summary => "Summary:",
        Kind::Cloze => "Sentence:",
    }
}

fn instruction(kind: Kind) -> &'static str {
    match kind {
        Kind::Question => {
            "Write one question that this passage answers, and the answer in a few words copied from the passage. Use two lines:\nQuestion: ...\nAnswer: ..."
        }
        Kind::Paraphrase => {
            "Rewrite this passage in your own words. Keep every fact, name and number, and add nothing."
        }
        Kind::Summary => "Summarise this passage in one or two sentences of your own. Add nothing.",
        Kind::Cloze => {
            "Write one sentence that states a fact of this passage, with its most important word replaced by ____, and the word. Use two lines:\nSentence: ...\nWord: ..."
        }
    }
}

/// Asks for an item of a kind.
pub(super) fn ask(kind: Kind, passage: &str) -> Turn {
    Turn {
        messages: vec![Message::new("user", format!("{passage}\n\n{}", instruction(kind)))],
        beginning: beginning(kind).into(),
        plain: format!("{passage}\n\n{}\n\n", instruction(kind)),
    }
}

/// Puts a question back to the author.
pub(super) fn ask_back(question: &str, passage: &str) -> Turn {
    let asked =
        format!("{passage}\n\nAnswer this question in a few words copied from the passage.\nQuestion: {question}");
    Turn {
        messages: vec![Message::new("user", asked.clone())],
        beginning: "Answer:".into(),
        plain: format!("{asked}\n"),
    }
}
