//! The model card: Hugging Face front matter and tables, written from facts.

use std::fmt::Write;

use serde_json::json;

use crate::documents::{Corpus, Evaluation};
use crate::facts::{changes, kept_apart, limits, role, together};
use crate::format::EXTENSION;
use crate::manifest::{BASE_FROM_RECIPE, Manifest};

/// Writes the card of a module.
pub(crate) fn card(manifest: &Manifest, corpus: &Corpus, evaluation: &Evaluation, about: Option<&str>) -> String {
    let mut card = front_matter(manifest, corpus);
    let Manifest { name, version, topic, summary, authors, .. } = manifest;
    let mut put = |text: std::fmt::Arguments<'_>| card.write_fmt(text).expect("a String takes all text");
    put(format_args!(
        "\n# {name} {version}\n\n{summary}\n\nA LoRA knowledge module about {topic}, by {}.\n",
        authors.join(", ")
    ));
    if let Some(about) = about.map(str::trim).filter(|about| !about.is_empty()) {
        put(format_args!("\n{about}\n"));
    }
    put(format_args!("\n## What it does\n\n{}", measured(manifest, evaluation)));
    let limits: String = limits(manifest, evaluation).iter().map(|line| format!("- {line}\n")).collect();
    put(format_args!("\n## Limits\n\n{limits}"));
    put(format_args!("\n## Use\n\n{}", usage(manifest)));
    put(format_args!("\n## Data and licence\n\n{}", data(manifest, corpus)));
    card
}

/// YAML in which every text is written as JSON, which is YAML.
fn front_matter(manifest: &Manifest, corpus: &Corpus) -> String {
    let Manifest { base, languages, license, topic, .. } = manifest;
    let mut lines = vec![format!("language: {}", json!(languages))];
    // The hub knows SPDX identifiers in small letters; expressions it does not know.
    let single = !license.contains(' ') && !license.starts_with("LicenseRef-");
    if single {
        lines.push(format!("license: {}", license.to_lowercase()));
    } else {
        lines.push("license: other".into());
        lines.push(format!("license_name: {}", json!(license)));
        lines.push(format!("license_link: {}", crate::format::LICENSE));
    }
    let mut tags = vec!["lore".to_owned(), "lora".to_owned(), topic.clone()];
    if let Some(repository) = hub_repository(&base.source) {
        lines.push(format!("base_model: {}", json!(repository)));
        lines.push("base_model_relation: adapter".into());
        tags.push(format!("base_model:adapter:{repository}"));
    }
    lines.push("library_name: peft".into());
    lines.push("pipeline_tag: text-generation".into());
    let datasets: Vec<&str> = corpus
        .texts
        .iter()
        .filter_map(|text| hub_repository(text.source.strip_prefix("hf:datasets/").map(|_| text.source.as_str())?))
        .collect();
    if !datasets.is_empty() {
        lines.push(format!("datasets: {}", json!(datasets)));
    }
    lines.push(format!("tags: {}", json!(tags)));
    format!("---\n{}\n---\n", lines.join("\n"))
}

/// `owner/repo` of an `hf:` source.
fn hub_repository(source: &str) -> Option<&str> {
    let rest = source.strip_prefix("hf:")?;
    let rest = rest.strip_prefix("datasets/").unwrap_or(rest);
    let end = rest.find('@').or_else(|| rest.match_indices('/').nth(1).map(|(at, _)| at)).unwrap_or(rest.len());
    Some(&rest[..end])
}

/// A table of the module alone on every text, and one of all combinations.
fn measured(manifest: &Manifest, evaluation: &Evaluation) -> String {
    let mut text = String::from(
        "Bits per byte of held-out text, lower is better; ± is 1.96 standard errors of the paired difference.\n\n",
    );
    text += "| text | base | with this module | change | |\n|---|---|---|---|---|\n";
    for change in changes(manifest, evaluation) {
        text += &format!(
            "| {} | {:.3} | {:.3} | {} | {} |\n",
            cell(&change.text),
            change.before,
            change.after,
            change.shown(),
            change.role
        );
    }
    let together = together(manifest, evaluation);
    if !together.is_empty() {
        text += "\nWith other modules of the same run, change against the base alone:\n\n| active |";
        for column in &evaluation.texts {
            text += &format!(" {} |", cell(&column.name));
        }
        text += &format!("\n|---|{}\n", "---|".repeat(evaluation.texts.len()));
        for (active, cells) in together {
            text += &format!("| {} | {} |\n", cell(&active), cells.join(" | "));
        }
    }
    text + &format!("\n{}\n", evaluation.protocol.trim())
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// What to type, by the program.
pub(crate) fn commands(manifest: &Manifest) -> [(&'static str, String); 3] {
    let Manifest { name, version, base, .. } = manifest;
    let base = if base.source == BASE_FROM_RECIPE { "BASE" } else { base.source.as_str() };
    [
        (
            "Lore",
            format!(
                "lore pack install {name}-{version}.{EXTENSION}\nlore generate --base {base} --module MODULE --prompt 'The'"
            ),
        ),
        ("PEFT", "from peft import PeftModel\nmodel = PeftModel.from_pretrained(base, \"MODULE\")".to_owned()),
        ("llama.cpp", "convert_lora_to_gguf.py --base BASE MODULE --outfile module.gguf\nllama-cli -m BASE.gguf --lora module.gguf -p 'The'".to_owned()),
    ]
}

fn usage(manifest: &Manifest) -> String {
    let base = &manifest.base;
    let get = match base.source == BASE_FROM_RECIPE {
        true => {
            "The recipe in the pack (`recipe.toml`) makes the base: `lore run recipe.toml --until base`.".to_owned()
        }
        false => format!("The base: `{}`.", base.source),
    };
    let [(_, lore), (_, peft), (_, llama)] = commands(manifest);
    format!(
        "{get}\n\n```\n{lore}\n```\n\n\
         where MODULE is the folder that `lore pack install` prints. With PEFT, where `base` is the base as a transformers model:\n\n\
         ```python\n{peft}\n```\n\n\
         With llama.cpp, where BASE is that model and BASE.gguf its conversion:\n\n```\n{llama}\n```\n"
    )
}

fn data(manifest: &Manifest, corpus: &Corpus) -> String {
    let mut text = String::from(
        "| texts | for | licence | documents | tokens: train, validation, test |\n|---|---|---|---|---|\n",
    );
    for source in &corpus.texts {
        let role = role(source.role);
        text += &format!(
            "| {} | {role} | {} | {} | {}, {}, {} |\n",
            cell(&source.source),
            cell(&source.license),
            source.documents,
            source.tokens.train,
            source.tokens.validation,
            source.tokens.test
        );
    }
    for source in &corpus.texts {
        if let Some(found) = &source.decontamination {
            text += &format!("\nEvaluation items in {}: {}.\n", source.source, kept_apart(found));
        }
    }
    text + &format!(
        "\nThe module is under {}; its text is in `LICENSE.txt`, and who must be named is in `NOTICE.txt`. Hashes are in `corpus.json`, every figure in `evaluation.json`.\n",
        manifest.license
    )
}
