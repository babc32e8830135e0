export { ChunkWorkers } from './chunk-workers.ts'
