export type {
  ClipboardDirection,
  RfbEvent,
  RfbFilter,
  RfbFilterOptions,
  RfbOutput,
  RfbRights,
} from './filter-types.ts'
export { RfbError, type RfbErrorCode } from './rfb-error.ts'
export { createRfbFilter } from './rfb-filter.ts'
