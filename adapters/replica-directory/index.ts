export { openReplicaDirectory } from './replica-directory.ts'
