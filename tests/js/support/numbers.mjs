/** Small sums that several places need. */

/** The middle value. */
export const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** The dot product. */
export const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
