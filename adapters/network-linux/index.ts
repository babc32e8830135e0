export { type NetworkCollectorOptions, networkCollectors } from './network-collectors.ts'
