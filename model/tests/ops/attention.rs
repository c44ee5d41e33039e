//! Causal attention over ragged and branching sequences.

use lore_model::cpu::attention::Heads;
use lore_model::ops::attention::attention;
use lore_model::ops::host::values;
use lore_model::ops::sequences::{Branch, Sequences};
use std::sync::Arc;

use crate::oracle::{M, check};

fn naive_attention(x: &[M], lengths: &[usize], heads: Heads) -> Vec<f64> {
    let mut out = vec![0.0; x[0].rows * heads.query * heads.dim];
    let mut first = 0;
    for &length in lengths {
        for h in 0..heads.query {
            let g = h / (heads.query / heads.key_value);
            for i in first..first + length {
                let score = |j: usize| {
                    (0..heads.dim).map(|c| x[0].at(i, h * heads.dim + c) * x[1].at(j, g * heads.dim + c)).sum::<f64>()
                        / (heads.dim as f64).sqrt()
                };
                let total: f64 = (first..=i).map(|j| score(j).exp()).sum();
                for j in first..=i {
                    let p = score(j).exp() / total;
                    for c in 0..heads.dim {
                        out[i * heads.query * heads.dim + h * heads.dim + c] += p * x[2].at(j, g * heads.dim + c);
                    }
                }
            }
        }
        first += length;
    }
    out
}

#[test]
fn attention_matches_over_ragged_sequences() {
    for (lengths, heads) in [
        (vec![5], Heads { query: 1, key_value: 1, dim: 4 }),
        (vec![3, 1, 6], Heads { query: 4, key_value: 2, dim: 2 }),
        (vec![2, 7], Heads { query: 3, key_value: 1, dim: 6 }),
    ] {
        let rows = lengths.iter().sum();
        let sequences = Arc::new(Sequences::whole(&lengths));
        check(
            &[
                M::random(rows, heads.query * heads.dim, 11),
                M::random(rows, heads.key_value * heads.dim, 12),
                M::random(rows, heads.key_value * heads.dim, 13),
            ],
            |x| attention(x[0].clone(), x[1].clone(), x[2].clone(), sequences.clone(), heads),
            |x| naive_attention(x, &lengths, heads),
        );
    }
}

#[test]
fn attention_over_several_blocks_matches() {
    let heads = Heads { query: 2, key_value: 1, dim: 8 };
    let lengths = [150, 65];
    let inputs = [M::random(215, 16, 1), M::random(215, 8, 2), M::random(215, 8, 3)];
    let expected = naive_attention(&inputs, &lengths, heads);
    let [q, k, v] = [0, 1, 2].map(|i| inputs[i].tensor());
    let found = values(&attention(q, k, v, Arc::new(Sequences::whole(&lengths)), heads));
    let worst = found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-5, "{worst}");
}

#[test]
fn sequences_that_continue_others_are_the_same_as_whole_ones() {
    // Narrower and wider than the vectors that are computed together.
    for dim in [4, 20, 32] {
        branches(Heads { query: 4, key_value: 2, dim });
    }
}

/// A tree: its root, three that continue it, and one that continues the middle of one of those.
fn branches(heads: Heads) {
    let (wide, narrow) = (heads.query * heads.dim, heads.key_value * heads.dim);
    let branch = |prefix: &[(usize, usize)], length| {
        let prefix = prefix.iter().map(|&(start, end)| start..end).collect();
        Branch { prefix, length }
    };
    let tree = [
        branch(&[], 70),
        branch(&[(0, 70)], 1),
        branch(&[(0, 70)], 5),
        branch(&[(0, 41)], 66),
        branch(&[(0, 41), (76, 99)], 9),
    ];
    let rows = tree.iter().map(|branch| branch.length).sum::<usize>();
    let [q, k, v] = [(wide, 1), (narrow, 2), (narrow, 3)].map(|(width, seed)| M::random(rows, width, seed));
    let shared = values(&attention(q.tensor(), k.tensor(), v.tensor(), Arc::new(Sequences::branching(&tree)), heads));
    let mut first = 0;
    for Branch { prefix, length } in tree {
        let own: Vec<usize> = prefix.into_iter().flatten().chain(first..first + length).collect();
        let pick = |m: &M| M {
            rows: own.len(),
            columns: m.columns,
            v: own.iter().flat_map(|&r| m.v[r * m.columns..(r + 1) * m.columns].to_vec()).collect(),
        };
        let inputs = [pick(&q), pick(&k), pick(&v)];
        let expected = naive_attention(&inputs, &[own.len()], heads);
        let past = own.len() - length;
        for i in 0..length * wide {
            let (found, expected) = (shared[first * wide + i], expected[past * wide + i]);
            assert!((f64::from(found) - expected).abs() < 1e-5, "{found} against {expected}");
        }
        // Computed in one piece it is the same to the last bit.
        let [q, k, v] = [0, 1, 2].map(|i| inputs[i].tensor());
        let whole = Sequences::branching(&[Branch { prefix: vec![], length: own.len() }]);
        let whole = values(&attention(q, k, v, Arc::new(whole), heads));
        assert_eq!(whole[past * wide..], shared[first * wide..(first + length) * wide]);
        first += length;
    }
}
