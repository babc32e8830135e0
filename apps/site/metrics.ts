/** Counters and histograms in Prometheus's text format (version 0.0.4). */
export interface Metrics {
  count(name: string, labels?: Readonly<Record<string, string>>): void
  /** @param seconds of one observation */
  time(name: string, seconds: number): void
  /** @param gauges read at the moment of asking */
  render(gauges: Readonly<Record<string, number>>): string
}

const buckets: readonly number[] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export function createMetrics(prefix: string): Metrics {
  const counters = new Map<string, number>()
  const histograms = new Map<string, { readonly counts: number[]; sum: number; count: number }>()
  return {
    count: (name, labels = {}) => {
      const key = `${prefix}_${name}_total${renderLabels(labels)}`
      counters.set(key, (counters.get(key) ?? 0) + 1)
    },
    time: (name, seconds) => {
      const key = `${prefix}_${name}_seconds`
      const histogram = histograms.get(key) ?? { counts: buckets.map(() => 0), sum: 0, count: 0 }
      histograms.set(key, histogram)
      histogram.sum += seconds
      histogram.count += 1
      for (const [index, bound] of buckets.entries()) {
        if (seconds <= bound) histogram.counts[index] = (histogram.counts[index] ?? 0) + 1
      }
    },
    render: (gauges) => {
      const lines = [...counters].map(([key, value]) => `${key} ${value}`)
      for (const [key, { counts, sum, count }] of histograms) {
        lines.push(`# TYPE ${key} histogram`)
        for (const [index, bound] of buckets.entries())
          lines.push(`${key}_bucket{le="${bound}"} ${counts[index] ?? 0}`)
        lines.push(`${key}_bucket{le="+Inf"} ${count}`, `${key}_sum ${sum}`, `${key}_count ${count}`)
      }
      for (const [name, value] of Object.entries(gauges))
        lines.push(`# TYPE ${prefix}_${name} gauge`, `${prefix}_${name} ${value}`)
      return `${lines.join('\n')}\n`
    },
  }
}

function renderLabels(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replaceAll(/["\\\n]/g, '_')}"`,
  )
  return parts.length > 0 ? `{${parts.join(',')}}` : ''
}
