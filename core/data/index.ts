export { csvOf } from './csv.ts'
export { protectionSentences } from './protection.ts'
export { isOutside, isReadable, summaryOf } from './summary.ts'
