//! GGUF's tensor names and row order, translated to Hugging Face's.

/// Names inside a block, GGUF's and Hugging Face's.
const PARTS: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The Hugging Face name of a GGUF tensor; a name that has none is returned unchanged.
pub fn hugging_face_name(gguf: &str) -> String {
    let whole = match gguf {
        "token_embd.weight" => Some("model.embed_tokens.weight"),
        "output_norm.weight" => Some("model.norm.weight"),
        "output.weight" => Some("lm_head.weight"),
        _ => None,
    };
    if let Some(name) = whole {
        return name.to_owned();
    }
    in_block(gguf).unwrap_or_else(|| gguf.to_owned())
}

/// Translates `blk.N.part.weight` and `blk.N.part.bias`.
fn in_block(gguf: &str) -> Option<String> {
    let (layer, rest) = gguf.strip_prefix("blk.")?.split_once('.')?;
    // "01" or "+1" would make two names for one tensor.
    let number: usize = layer.parse().ok()?;
    if number.to_string() != layer {
        return None;
    }
    let (part, kind) = rest.rsplit_once('.')?;
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    let part = PARTS.iter().find(|(name, _)| *name == part)?.1;
    Some(format!("model.layers.{layer}.{part}.{kind}"))
}

/// The GGUF name of a tensor inside a block, `model.layers.N.part.weight` or `.bias`; nothing for other names.
pub fn gguf_name(hugging_face: &str) -> Option<String> {
    let (layer, rest) = hugging_face.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let part = PARTS.iter().find(|(_, name)| *name == part)?.0;
    let name = format!("blk.{layer}.{part}.{kind}");
    // Whatever is not a number or a kind does not come back.
    (hugging_face_name(&name) == hugging_face).then_some(name)
}

/// The row of a llama-architecture GGUF query or key matrix that holds row `row` of Hugging Face's.
///
/// llama.cpp rotates neighbouring pairs, so its converter interleaves the two halves of each head:
/// within a head of width `head_dim`, row `half · head_dim / 2 + j` is stored at `2 j + half`.
pub fn interleaved_row(row: usize, head_dim: usize) -> usize {
    let (head, within) = (row / head_dim, row % head_dim);
    let (half, j) = (within / (head_dim / 2), within % (head_dim / 2));
    head * head_dim + 2 * j + half
}
