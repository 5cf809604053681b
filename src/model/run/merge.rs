//! Fewer vectors for a document: similar ones are replaced by their mean (token pooling, Clavié et
//! al. 2024), as `PyLate` does it.

use crate::backend::cpu;
use crate::error::{Result, room};

/// Groups the rows of `data` after the first `kept` by Ward's hierarchical clustering of their
/// cosine distances, and replaces each group by its mean. There is a group for every `factor` rows,
/// at least one. The means are not normalised. Groups are in the order of their first rows.
///
/// Rows have length 1 and `width` numbers. Memory grows with the square of their number.
pub fn merge(data: &[f32], width: usize, factor: usize, kept: usize) -> Result<Vec<f32>> {
    let (first, rest) = data.split_at((kept * width).min(data.len()));
    let rows = rest.len() / width.max(1);
    let count = (rows / factor.max(1)).max(1);
    if count >= rows {
        return Ok(data.to_vec());
    }
    let groups = cut(rows, merges(rest, width)?, count);
    let mut out = first.to_vec();
    let mut done = vec![false; rows];
    for group in &groups {
        if std::mem::replace(&mut done[*group], true) {
            continue;
        }
        let start = out.len();
        out.resize(start + width, 0.0);
        let members = groups.iter().zip(rest.chunks_exact(width));
        let members = members.filter(|(other, _)| *other == group);
        let mut size = 0.0f32;
        for (_, row) in members {
            size += 1.0;
            let sum = out[start..].iter_mut().zip(row);
            sum.for_each(|(sum, x)| *sum += x);
        }
        out[start..].iter_mut().for_each(|sum| *sum /= size);
    }
    Ok(out)
}

/// A merge of two clusters, each named by one of its rows.
struct Merge {
    one: usize,
    other: usize,
    distance: f64,
}

/// The merges of Ward's method by chains of nearest neighbours (Müllner 2011), in ascending order
/// of distance. They are those of `scipy.cluster.hierarchy.linkage`.
fn merges(rows: &[f32], width: usize) -> Result<Vec<Merge>> {
    let n = rows.len() / width;
    // The distance of every pair, below the diagonal.
    let products = cpu::pairs(rows, width)?;
    let mut distances: Vec<f64> = room(products.len())?;
    let distance = |product: &f32| f64::from((1.0 - product).max(0.0));
    distances.extend(products.iter().map(distance));
    drop(products);
    let at = |i: usize, j: usize| {
        let (low, high) = (i.min(j), i.max(j));
        high * (high - 1) / 2 + low
    };
    let mut sizes = vec![1.0f64; n];
    let mut chain: Vec<usize> = Vec::new();
    let mut merges = Vec::new();
    for _ in 1..n {
        if chain.is_empty() {
            chain.extend(sizes.iter().position(|size| *size > 0.0));
        }
        let (x, y, distance) = loop {
            let x = chain[chain.len() - 1];
            // Of equal distances, that to the previous cluster counts.
            let previous = chain.len().checked_sub(2).map(|at| chain[at]);
            let (mut nearest, mut least) = match previous {
                Some(y) => (y, distances[at(x, y)]),
                None => (x, f64::INFINITY),
            };
            for (i, size) in sizes.iter().enumerate() {
                if *size > 0.0 && i != x && distances[at(x, i)] < least {
                    (nearest, least) = (i, distances[at(x, i)]);
                }
            }
            if Some(nearest) == previous || nearest == x {
                break (x.min(nearest), x.max(nearest), least);
            }
            chain.push(nearest);
        };
        chain.truncate(chain.len().saturating_sub(2));
        let (a, b) = (sizes[x], sizes[y]);
        (sizes[x], sizes[y]) = (0.0, a + b);
        for i in 0..n {
            let size = sizes[i];
            if size > 0.0 && i != y {
                let (to_x, to_y) = (distances[at(i, x)], distances[at(i, y)]);
                let sum = (size + a) * to_x * to_x + (size + b) * to_y * to_y
                    - size * distance * distance;
                distances[at(i, y)] = (sum / (a + b + size)).max(0.0).sqrt();
            }
        }
        merges.push(Merge {
            one: x,
            other: y,
            distance,
        });
    }
    merges.sort_by(|a, b| a.distance.total_cmp(&b.distance));
    Ok(merges)
}

/// The cluster of each row, named by its first row, after the merges that leave at most `count`
/// clusters. Merges of equal distance are all done or not at all.
fn cut(n: usize, merges: Vec<Merge>, count: usize) -> Vec<usize> {
    let mut parents: Vec<usize> = (0..n).collect();
    let root = |parents: &[usize], mut row: usize| {
        while parents[row] != row {
            row = parents[row];
        }
        row
    };
    let limit = merges
        .get(n - count - 1)
        .map_or(0.0, |merge| merge.distance);
    for merge in merges
        .into_iter()
        .take_while(|merge| merge.distance <= limit)
    {
        let [a, b] = [merge.one, merge.other].map(|row| root(&parents, row));
        parents[a.max(b)] = a.min(b);
    }
    (0..n).map(|row| root(&parents, row)).collect()
}
