import { CodedError } from '#core/errors/coded-error.ts'

export type HostErrorCode = 'HOST_RELAY_REFUSED' | 'HOST_TICKET_EXPIRED'

export class HostError extends CodedError<HostErrorCode> {}
