/** What agents write their log to; pino's loggers fit. */
export interface AgentLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}
