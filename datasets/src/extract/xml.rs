//! Records from XML: each matching element, with its children and attributes.

use std::fmt;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::markup::{fold, is_block, resolve_reference};
use super::record::{Record, Sink, utf8};

/// Elements nested deeper than this are refused.
const MAX_DEPTH: usize = 256;

/// An element, names without prefix.
#[derive(Debug, Default)]
pub(super) struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    content: Vec<Node>,
}

#[derive(Debug)]
enum Node {
    Text(String),
    Element(Arc<Element>),
}

/// A list of elements as the templates see it.
///
/// `x.Name` is the list of all children called `Name`, or, where there are none, the attribute `Name` of
/// the first element. `{{ x }}` is the text inside, blocks separated by blank lines. An empty list is false.
#[derive(Debug)]
pub(super) struct Elements(Vec<Arc<Element>>);

impl Elements {
    /// The text inside, one entry per block.
    pub(super) fn blocks(&self) -> Vec<String> {
        let mut blocks = Vec::new();
        for element in &self.0 {
            blocks.push(String::new());
            element.write_text(&mut blocks);
        }
        blocks.iter().map(|block| fold(block)).filter(|block| !block.is_empty()).collect()
    }
}

impl Element {
    fn write_text(&self, blocks: &mut Vec<String>) {
        for node in &self.content {
            match node {
                Node::Text(text) => blocks.last_mut().expect("the caller starts a block").push_str(text),
                Node::Element(child) => {
                    let block = is_block(&child.name.to_ascii_lowercase());
                    if block {
                        blocks.push(String::new());
                    }
                    child.write_text(blocks);
                    if block {
                        blocks.push(String::new());
                    }
                }
            }
        }
    }
}

impl Object for Elements {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        if let Some(index) = key.as_usize() {
            return self.0.get(index).map(|element| Value::from_object(Self(vec![element.clone()])));
        }
        let name = key.as_str()?;
        let named = |node: &Node| match node {
            Node::Element(child) if child.name == name => Some(child.clone()),
            _ => None,
        };
        let children: Vec<_> = self.0.iter().flat_map(|element| element.content.iter().filter_map(named)).collect();
        if !children.is_empty() {
            return Some(Value::from_object(Self(children)));
        }
        let attributes = &self.0.first()?.attributes;
        attributes.iter().find(|(attribute, _)| attribute == name).map(|(_, value)| Value::from(value.as_str()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.blocks().join("\n\n"))
    }
}

/// Gives every element that `wanted` names to `sink`. An element inside a record is part of it.
pub(super) fn read(bytes: &[u8], wanted: &str, sink: &mut Sink<'_>) -> Result<(), String> {
    let wanted: Vec<&str> = wanted.split('/').filter(|step| !step.is_empty()).collect();
    let mut reader = Reader::from_str(utf8(bytes)?);
    let mut path: Vec<String> = Vec::new();
    // The record being built: its element and the open elements inside it.
    let mut open: Vec<Element> = Vec::new();
    let mut number = 0;
    loop {
        let position = reader.buffer_position();
        let event = reader.read_event().map_err(|e| format!("it is not well-formed XML at byte {position}: {e}"))?;
        match event {
            Event::Start(start) => {
                path.push(start.local_name().into_inner().to_owned());
                if path.len() > MAX_DEPTH {
                    return Err(format!("elements are nested more than {MAX_DEPTH} deep at byte {position}"));
                }
                if !open.is_empty() || ends_with(&path, &wanted) {
                    open.push(element(&start, position)?);
                }
            }
            Event::Empty(start) => {
                path.push(start.local_name().into_inner().to_owned());
                let inside = !open.is_empty();
                if inside || ends_with(&path, &wanted) {
                    close(element(&start, position)?, &mut open, &mut number, sink);
                }
                path.pop();
            }
            Event::End(_) => {
                path.pop();
                if let Some(element) = open.pop() {
                    close(element, &mut open, &mut number, sink);
                }
            }
            Event::Text(text) => add_text(&mut open, &text),
            Event::CData(text) => add_text(&mut open, &text),
            Event::GeneralRef(reference) => {
                let name: &str = &reference;
                match resolve_reference(name) {
                    Some(text) => add_text(&mut open, &text),
                    None => add_text(&mut open, &format!("&{name};")),
                }
            }
            Event::Eof if path.is_empty() => return Ok(()),
            Event::Eof => return Err(format!("it ends inside the element `{}`", path.join("/"))),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

fn ends_with(path: &[String], wanted: &[&str]) -> bool {
    path.len() >= wanted.len() && path[path.len() - wanted.len()..].iter().zip(wanted).all(|(step, want)| step == want)
}

fn element(start: &BytesStart<'_>, position: u64) -> Result<Element, String> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| format!("a bad attribute at byte {position}: {e}"))?;
        let name = attribute.key.local_name().into_inner().to_owned();
        attributes.push((name, super::markup::decode_entities(&attribute.value).into_owned()));
    }
    Ok(Element { name: start.local_name().into_inner().to_owned(), attributes, content: Vec::new() })
}

fn close(element: Element, open: &mut [Element], number: &mut u64, sink: &mut Sink<'_>) {
    if let Some(parent) = open.last_mut() {
        parent.content.push(Node::Element(Arc::new(element)));
    } else {
        let value = Value::from_object(Elements(vec![Arc::new(element)]));
        sink(Ok(Record { value, root: Value::UNDEFINED, key: number.to_string() }));
        *number += 1;
    }
}

fn add_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        match element.content.last_mut() {
            Some(Node::Text(before)) => before.push_str(text),
            _ => element.content.push(Node::Text(text.to_owned())),
        }
    }
}
