export type { Collector, Observation } from './observation.ts'
