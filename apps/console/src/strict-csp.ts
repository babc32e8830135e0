import { z } from 'zod'

// The page's Content-Security-Policy forbids eval; without this zod would try it once and leave a violation in the log.
z.config({ jitless: true })
