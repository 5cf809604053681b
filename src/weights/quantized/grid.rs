//! Scales or zero points of a matrix: one number for each block of it.

/// Numbers for the whole matrix, each row, each group of a row, or each block.
pub struct Grid {
    pub values: Vec<f32>,
    pub columns: usize,
    /// The rows and the columns of the matrix that one number is for.
    pub block: (usize, usize),
}

impl Grid {
    /// `rows` by `columns` numbers for a matrix of `height` by `width`; `None` if they do not
    /// divide it.
    pub fn new(
        values: Vec<f32>,
        rows: usize,
        columns: usize,
        height: usize,
        width: usize,
    ) -> Option<Self> {
        if rows == 0 || columns == 0 || values.len() != rows * columns {
            return None;
        }
        // The size of a group is a power of two, or divides the length. The last group may be
        // shorter.
        let size = |count: usize, length: usize| {
            let mut powers = (0..20).map(|power| 1usize << power);
            let power = powers.find(|size| length.div_ceil(*size) == count);
            let even = length.is_multiple_of(count).then(|| length / count);
            if count == 1 { even } else { power.or(even) }
        };
        Some(Self {
            values,
            columns,
            block: (size(rows, height)?, size(columns, width)?),
        })
    }

    /// The numbers of a row of the matrix.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row / self.block.0 * self.columns..][..self.columns]
    }
}
