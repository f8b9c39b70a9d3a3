// Equations of least squares.

// Of each equation at least this share is not made up by those before it, where they are solved the short way.
const DETERMINED = 1e-4;

// The solution of gram x = products, gram symmetric and nowhere negative: the shortest where several are as good.
export function solve(gram, products) {
  return cholesky(gram, products) ?? shortest(gram, products);
}

function cholesky(gram, products) {
  const n = products.length;
  const root = gram.map(() => new Float64Array(n));
  const solution = [...products];
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let total = gram[i][j];
      for (let k = 0; k < j; k++) total -= root[i][k] * root[j][k];
      if (i > j) root[i][j] = total / root[j][j];
      else if (total > DETERMINED * gram[i][i]) root[i][i] = Math.sqrt(total);
      else return null;
    }
  }
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) solution[i] -= root[i][k] * solution[k];
    solution[i] /= root[i][i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) solution[i] -= root[k][i] * solution[k];
    solution[i] /= root[i][i];
  }
  return solution;
}

// By the eigenvectors of gram, which Jacobi's rotations find; those of hardly any length are left out.
export function shortest(gram, products) {
  const n = products.length;
  const a = gram.map((row) => [...row]);
  const vectors = a.map((_, i) => a.map((_, j) => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < 60; sweep++) {
    let beside = 0;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        if (!a[p][q]) continue;
        beside += a[p][q] ** 2;
        const theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
        const c = 1 / Math.hypot(t, 1);
        const s = t * c;
        for (const row of [...a, ...vectors]) [row[p], row[q]] = [c * row[p] - s * row[q], s * row[p] + c * row[q]];
        for (let k = 0; k < n; k++) [a[p][k], a[q][k]] = [c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]];
      }
    }
    if (beside < 1e-40) break;
  }
  const most = Math.max(...a.map((row, i) => Math.abs(row[i])));
  const solution = new Array(n).fill(0);
  for (let i = 0; i < n; i++) {
    if (Math.abs(a[i][i]) <= Number.EPSILON * n * most) continue;
    const share = vectors.reduce((sum, row, k) => sum + row[i] * products[k], 0) / a[i][i];
    vectors.forEach((row, k) => (solution[k] += share * row[i]));
  }
  return solution;
}
