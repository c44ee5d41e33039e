//! The facts of a pack as one page for people: loads nothing from elsewhere, runs nothing, escapes everything.
//!
//! It holds what was measured and checked, and nothing in the author's words but names; those are on the model card.

use minijinja::{AutoEscape, Environment, Value, context};

use crate::card::commands;
use crate::error::{Error, Result};
use crate::facts::{changes, facts, grouped, limits, role, together};
use crate::verify::Verified;

const PAGE: &str = include_str!("card.html");
/// The report of a run and the card of a module look alike.
const STYLE: &str = include_str!("../../../eval/src/report/templates/report.css");

/// The page of a pack. The same pack gives the same page.
///
/// # Errors
/// None but a defect of the template.
pub fn page(pack: &Verified) -> Result<String> {
    let Verified { manifest, corpus, evaluation, .. } = pack;
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    let changes: Vec<Value> = changes(manifest, evaluation)
        .iter()
        .map(|change| {
            context! {
                text => change.text,
                before => format!("{:.3}", change.before),
                after => format!("{:.3}", change.after),
                change => change.shown(),
                role => change.role,
                better => change.change < 0.0,
                own => change.text == manifest.topic,
            }
        })
        .collect();
    let texts: Vec<Value> = corpus
        .texts
        .iter()
        .map(|text| {
            context! {
                source => text.source,
                role => role(text.role),
                license => text.license,
                documents => grouped(text.documents),
                train => grouped(text.tokens.train),
                test => grouped(text.tokens.test),
                sha256 => text.documents_sha256,
            }
        })
        .collect();
    let members: Vec<Value> = manifest
        .members
        .iter()
        .map(|member| context! { name => member.name, bytes => grouped(member.bytes), sha256 => member.sha256 })
        .collect();
    let together: Vec<Value> =
        together(manifest, evaluation).into_iter().map(|(active, cells)| context! { active, cells }).collect();
    let page = environment.render_named_str(
        "card.html",
        PAGE,
        context! {
            style => Value::from_safe_string(STYLE.into()),
            manifest => Value::from_serialize(manifest),
            parameters => grouped(manifest.parameters),
            bytes => grouped(manifest.members.iter().map(|member| member.bytes).sum()),
            signer => pack.signer.as_ref().map(ToString::to_string),
            facts => facts(pack),
            changes,
            columns => evaluation.texts.iter().map(|text| text.name.as_str()).collect::<Vec<_>>(),
            together,
            protocol => evaluation.protocol.trim(),
            samples => Value::from_serialize(&evaluation.samples),
            limits => limits(manifest, evaluation),
            commands => commands(manifest),
            texts,
            members,
        },
    );
    page.map_err(|error| Error::Request(format!("the page of a pack: {error}")))
}
