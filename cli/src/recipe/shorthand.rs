//! What may be left out or written shorter in a recipe, filled in before it is read.

use lore_settings::syntax::{self, Node, Value};

/// A single rule may be written as `[topic.extract]`, several as `[[topic.extract]]`.
pub fn lists_of_rules(tree: &mut Node) {
    let wrap = |owner: &mut Node| {
        if let Some(rule) = owner.at_mut(&syntax::steps("extract"))
            && matches!(rule.value, Value::Table(_))
        {
            *rule = Node { place: rule.place.clone(), value: Value::List(vec![rule.clone()]) };
        }
    };
    if let Some(corpus) = tree.at_mut(&syntax::steps("general.corpus")) {
        wrap(corpus);
    }
    for topic in topics(tree) {
        wrap(topic);
        if let Some(Node { value: Value::List(against), .. }) = topic.at_mut(&syntax::steps("decontaminate.against")) {
            against.iter_mut().for_each(wrap);
        }
    }
}

/// Lays each `[topic.module]` and `[joint.module]` over `[modules]`, and `[modules]` over the defaults of a module.
pub fn module_defaults(tree: &mut Node) {
    let Some(defaults) = tree.get("modules").cloned() else { return };
    if !matches!(defaults.value, Value::Table(_)) {
        return;
    }
    for owner in ["topic", "joint"] {
        modules_over(&defaults, list(tree, owner));
    }
}

fn modules_over(defaults: &Node, owners: &mut [Node]) {
    for owner in owners {
        let Value::Table(entries) = &mut owner.value else { continue };
        match entries.iter_mut().find(|(key, _)| key == "module") {
            Some((_, module)) if matches!(module.value, Value::Table(_)) => {
                let mut merged = defaults.clone();
                merged.overlay(module.clone());
                *module = merged;
            }
            Some(_) => {}
            None => entries.push(("module".into(), defaults.clone())),
        }
    }
}

fn topics(tree: &mut Node) -> &mut [Node] {
    list(tree, "topic")
}

fn list<'a>(tree: &'a mut Node, name: &str) -> &'a mut [Node] {
    match tree.at_mut(&syntax::steps(name)) {
        Some(Node { value: Value::List(items), .. }) => items,
        _ => &mut [],
    }
}
