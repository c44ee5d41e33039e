//! The model card: Hugging Face front matter and tables, written from facts.

use std::fmt::Write;

use serde_json::json;

use crate::documents::{Corpus, EvaluatedModel, Evaluation, TextRole};
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
    put(format_args!("\n## Limits\n\n{}", limits(manifest, evaluation)));
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

fn percent(change: f64) -> String {
    format!("{:+.1} %", 100.0 * change)
}

/// A table of the module alone on every text, and one of all combinations.
fn measured(manifest: &Manifest, evaluation: &Evaluation) -> String {
    let topic = &manifest.topic;
    let mut text = String::from(
        "Bits per byte of held-out text, lower is better; ± is 1.96 standard errors of the paired difference.\n\n",
    );
    text += "| text | base | with this module | change | |\n|---|---|---|---|---|\n";
    let (Some(base), Some(module)) = (evaluation.base_model(), evaluation.module(topic)) else { return text };
    for column in &evaluation.texts {
        let (Some(before), Some(after)) = (base.scores.get(&column.name), module.scores.get(&column.name)) else {
            continue;
        };
        let error = after.difference_standard_error.map(|error| 196.0 * error / before.bits_per_byte);
        let what = match (column.general, column.name == *topic) {
            (true, _) => "general English: forgetting",
            (false, true) => "its own topic: gain",
            (false, false) => "another topic: interference",
        };
        let change = percent(after.bits_per_byte / before.bits_per_byte - 1.0);
        let change = error.map_or(change.clone(), |error| format!("{change} ± {error:.1}"));
        text += &format!(
            "| {} | {:.3} | {:.3} | {change} | {what} |\n",
            cell(&column.name),
            before.bits_per_byte,
            after.bits_per_byte
        );
    }
    let together: Vec<&EvaluatedModel> =
        evaluation.models.iter().filter(|model| model.modules.len() > 1 && model.modules.contains(topic)).collect();
    if !together.is_empty() {
        text += "\nWith other modules of the same run, change against the base alone:\n\n| active |";
        for column in &evaluation.texts {
            text += &format!(" {} |", cell(&column.name));
        }
        text += &format!("\n|---|{}\n", "---|".repeat(evaluation.texts.len()));
        for model in together {
            text += &format!("| {} of {} |", cell(&model.name), cell(&model.modules.join(", ")));
            for column in &evaluation.texts {
                let change = evaluation.change(model, &column.name).map(percent).unwrap_or_default();
                text += &format!(" {change} |");
            }
            text.push('\n');
        }
    }
    text + &format!("\n{}\n", evaluation.protocol.trim())
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn limits(manifest: &Manifest, evaluation: &Evaluation) -> String {
    let mut lines = vec![
        format!(
            "It works on one base only, {} (fingerprint `{}`). On another it may load and be wrong; Lore refuses that.",
            manifest.base.name, manifest.base.fingerprint
        ),
        "A language model writes likely text, not true text; what it says about its topic must be checked.".to_owned(),
    ];
    if let Some(module) = evaluation.module(&manifest.topic) {
        let worse: Vec<String> = evaluation
            .texts
            .iter()
            .filter(|text| text.name != manifest.topic)
            .filter_map(|text| Some((text, evaluation.change(module, &text.name)?)))
            .filter(|(_, change)| *change > 0.0)
            .map(|(text, change)| format!("{} by {:.1} %", text.name, 100.0 * change))
            .collect();
        if !worse.is_empty() {
            lines.push(format!("It makes the base worse on {}.", worse.join(", ")));
        }
    }
    lines.iter().map(|line| format!("- {line}\n")).collect()
}

fn usage(manifest: &Manifest) -> String {
    let Manifest { name, version, base, .. } = manifest;
    let (get, base_path) = if base.source == BASE_FROM_RECIPE {
        ("The recipe in the pack (`recipe.toml`) makes the base: `lore run recipe.toml`.".to_owned(), "BASE")
    } else {
        (format!("The base: `{}`.", base.source), base.source.as_str())
    };
    format!(
        "{get}\n\n```\nlore pack install {name}-{version}.{EXTENSION}\nlore generate --base {base_path} --module MODULE --prompt 'The'\n```\n\n\
         where MODULE is the folder that `lore pack install` prints. With PEFT, where `base` is the base as a transformers model:\n\n\
         ```python\nfrom peft import PeftModel\nmodel = PeftModel.from_pretrained(base, \"MODULE\")\n```\n\n\
         For llama.cpp, convert that folder with its `convert_lora_to_gguf.py --base BASE MODULE` and pass the result with `--lora`.\n"
    )
}

fn data(manifest: &Manifest, corpus: &Corpus) -> String {
    let mut text = String::from(
        "| texts | for | licence | documents | tokens: train, validation, test |\n|---|---|---|---|---|\n",
    );
    for source in &corpus.texts {
        let role = match source.role {
            TextRole::Topic => "the topic",
            TextRole::General => "general English",
        };
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
    text + &format!(
        "\nThe module is under {}; its text is in `LICENSE.txt`, and who must be named is in `NOTICE.txt`. Hashes are in `corpus.json`, every figure in `evaluation.json`.\n",
        manifest.license
    )
}
