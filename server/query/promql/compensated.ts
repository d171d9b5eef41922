/** Sums that keep the digits which plain addition loses (Kahan and Neumaier). */

/** What rounding has taken from `sum + value`, on top of what is `lost` already; nothing once the sum is infinite. */
export function carriedLoss(sum: number, value: number, lost: number): number {
  const total = sum + value;
  if (total === Number.POSITIVE_INFINITY || total === Number.NEGATIVE_INFINITY) return 0;
  return lost + (Math.abs(sum) >= Math.abs(value) ? sum - total + value : value - total + sum);
}

/** A running sum and what rounding took from it. */
export class CompensatedSum {
  sum = 0;
  lost = 0;

  add(value: number): void {
    this.lost = carriedLoss(this.sum, value, this.lost);
    this.sum += value;
  }

  get value(): number {
    return this.sum + this.lost;
  }
}

/** A mean that changes from a sum to a running mean where the sum would overflow. */
export class CompensatedMean {
  count = 0;
  /** The sum, or the mean where `isRunning`. */
  sum = 0;
  lost = 0;
  isRunning = false;

  /** Takes over a state that was read from the fields before. */
  load(count: number, sum: number, lost: number, isRunning: boolean): void {
    this.count = count;
    this.sum = sum;
    this.lost = lost;
    this.isRunning = isRunning;
  }

  add(value: number): void {
    this.count++;
    if (!this.isRunning) {
      if (this.count === 1) {
        this.sum = value;
        this.lost = 0;
        return;
      }
      const total = this.sum + value;
      if (Math.abs(total) !== Number.POSITIVE_INFINITY) {
        this.#increase(value);
        return;
      }
      this.isRunning = true;
      this.sum /= this.count - 1;
      this.lost /= this.count - 1;
    }
    const share = (this.count - 1) / this.count;
    this.sum *= share;
    this.lost *= share;
    this.#increase(value / this.count);
  }

  #increase(value: number): void {
    this.lost = carriedLoss(this.sum, value, this.lost);
    this.sum += value;
  }

  get value(): number {
    return this.isRunning ? this.sum + this.lost : this.sum / this.count + this.lost / this.count;
  }
}
