import { BytesError } from '#core/bytes/index.ts'
import { NBD_OPT, NBD_REP } from '../constants.ts'
import type { NbdExport } from '../nbd-export.ts'
import { info } from './opt-info.ts'
import { list } from './opt-list.ts'
import { listMetaContext, setMetaContext } from './opt-meta-context.ts'
import { acknowledged, type Negotiated, type OptionAnswer, refused } from './option.ts'

/** Where the connection stands with TLS: not offered, demanded before anything else, or in use. */
export type TlsState = 'none' | 'required' | 'active'

/** What an answer depends on. */
export interface OptionContext {
  readonly exports: readonly NbdExport[]
  readonly negotiated: Negotiated
  readonly tls: TlsState
}

/** Answers any option but NBD_OPT_EXPORT_NAME. Spec: proto.md "Option types" and, for TLS, "FORCEDTLS mode" */
export function answerOption(option: number, data: Uint8Array, context: OptionContext): OptionAnswer {
  if (option === NBD_OPT.ABORT) return { ...acknowledged(), next: { kind: 'end' } }
  if (option === NBD_OPT.STARTTLS) return startTls(data, context.tls)
  if (context.tls === 'required') return refused(NBD_REP.ERR_TLS_REQD, 'this server speaks only TLS')
  try {
    return answerChecked(option, data, context)
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    return refused(NBD_REP.ERR_INVALID, `malformed option ${option}: ${error.message}`)
  }
}

function answerChecked(option: number, data: Uint8Array, context: OptionContext): OptionAnswer {
  const { exports, negotiated } = context
  switch (option) {
    case NBD_OPT.LIST:
      return data.length > 0 ? unexpectedData() : list(exports)
    case NBD_OPT.INFO:
      return info(data, exports, negotiated.structured).answer
    case NBD_OPT.GO: {
      const { answer, export: chosen } = info(data, exports, negotiated.structured)
      return chosen ? { ...answer, next: { kind: 'transmission', export: chosen } } : answer
    }
    case NBD_OPT.STRUCTURED_REPLY:
      return data.length > 0
        ? unexpectedData()
        : { ...acknowledged(), negotiated: { ...negotiated, structured: true } }
    case NBD_OPT.LIST_META_CONTEXT:
      return listMetaContext(data, exports, negotiated)
    case NBD_OPT.SET_META_CONTEXT:
      return setMetaContext(data, exports, negotiated)
    default:
      return refused(NBD_REP.ERR_UNSUP, `option ${option} is not known here`)
  }
}

function startTls(data: Uint8Array, tls: TlsState): OptionAnswer {
  if (data.length > 0) return unexpectedData()
  switch (tls) {
    case 'none':
      return refused(NBD_REP.ERR_UNSUP, 'this server does without TLS on this connection')
    case 'active':
      return refused(NBD_REP.ERR_INVALID, 'TLS has begun already')
    default:
      return { ...acknowledged(), next: { kind: 'starttls' } }
  }
}

function unexpectedData(): OptionAnswer {
  return refused(NBD_REP.ERR_INVALID, 'this option carries no data')
}
