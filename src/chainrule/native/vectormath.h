/* Mathematical functions without branches, so that a loop over them becomes vector code. Included once for double and once
   for float by kernels.h, for every instruction set; VM(exp) is the function for T.

   Largest errors in units in the last place (ulp), for which tests/test_executor.py searches on every instruction set; the
   worst that was found in millions of samples is a tenth smaller, or more:

              exp  log  log1p  tanh  sigmoid  sin   cos   pow   sqrt
     double   1.1  1    1      1.8   2.6      0.85  0.85  2     0.5
     float    1.1  1    1      1.6   2.6      0.51  0.51  0.51  0.5

   Those of pow above 1.1 are powers beyond 1e+-250 of what is within 1.5 times of a power of 2: its logarithm has 62 bits there.

   sin and cos of |x| > 1e6, and pow of what is not a positive finite normal base, give NaN here: "ask libm". The loops of
   kernels.h do so. Infinities, NaN, zeros and denormals are right everywhere else.

   Sources: the reductions and polynomials of log, sin and cos are those of FreeBSD's msun (Sun Microsystems 1993, freely
   usable with this notice); exp is the Taylor series after subtraction of a multiple of ln 2 (Muller, Elementary Functions,
   chapter 11); the product in pow is Dekker's (1971). */

#ifdef T_IS_DOUBLE

#define MAGIC 6755399441055744.0 /* 1.5 * 2^52: added, it rounds to an integer, which then stands in the low bits */

static INLINE uint64_t VM(bits)(double x) {
    uint64_t i;
    memcpy(&i, &x, 8);
    return i;
}
static INLINE double VM(from)(uint64_t i) {
    double x;
    memcpy(&x, &i, 8);
    return x;
}

/* (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2 */
static INLINE double VM(exp_tail)(double r) {
    double r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
    double a = (1.0 / 2 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
    double b = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
    double c = (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800.0));
    return a + r4 * b + r8 * c;
}

/* exp(x + low), where low is far smaller than x */
static INLINE double VM(exp2part)(double x, double low) {
    double t = x > 710.0 ? 710.0 : x < -746.0 ? -746.0 : x; /* NaN stays */
    double m = t * 1.4426950408889634 + MAGIC, n = m - MAGIC;
    double r = (t - n * 0x1.62e42fee00000p-1) - (n * 0x1.a39ef35793c76p-33 - low);
    double y = 1.0 + (r + r * r * VM(exp_tail)(r));
    uint64_t k = VM(bits)(m) - VM(bits)(MAGIC), half = ((k + 2048) >> 1) - 1024; /* 2^n in two steps: n may be -1076 */
    return y * VM(from)((half + 1023) << 52) * VM(from)((k - half + 1023) << 52);
}

static INLINE double VM(exp)(double x) { return VM(exp2part)(x, 0.0); }

/* log(u) + c for a normal u > 0 and a small c; k0 is added to the exponent */
static INLINE double VM(log_core)(double u, double c, double k0) {
    uint64_t i = VM(bits)(u) + (0x3ff0000000000000u - 0x3fe6a09e00000000u);
    double k = VM(from)(0x4330000000000000u | (i >> 52)) - (4503599627370496.0 + 1023.0) + k0;
    double f = VM(from)((i & 0x000fffffffffffffu) + 0x3fe6a09e00000000u) - 1.0; /* u = 2^k (1 + f), sqrt(1/2) <= 1 + f */
    double h = 0.5 * f * f, s = f / (2.0 + f), z = s * s, w = z * z;
    double t1 = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    double t2 = z * (6.666666666666735130e-01
                     + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    return k * 6.93147180369123816490e-01 - ((h - (s * (h + (t1 + t2)) + (k * 1.90821492927058770002e-10 + c))) - f);
}

static INLINE double VM(log)(double x) {
    double tiny = x < 0x1p-1022 ? 54.0 : 0.0;
    double y = VM(log_core)(x < 0x1p-1022 ? x * 0x1p54 : x, 0.0, -tiny);
    y = x == (double)INFINITY ? x : y;
    y = x == 0.0 ? -(double)INFINITY : y;
    return x >= 0.0 ? y : (double)NAN;
}

static INLINE double VM(log1p)(double x) {
    double u = 1.0 + x, lost = x < 1.0 ? x - (u - 1.0) : 1.0 - (u - x);
    double y = VM(log_core)(u, lost / u, 0.0);
    y = x == (double)INFINITY ? x : y;
    y = x == -1.0 ? -(double)INFINITY : y;
    y = x >= -1.0 ? y : (double)NAN;
    return __builtin_fabs(x) < 0x1p-54 ? x : y; /* also keeps the sign of 0 */
}

/* tanh(|x|) = -e / (e + 2) with e = exp(-2|x|) - 1, both kept to more than one number */
static INLINE double VM(tanh)(double x) {
    double a = -2.0 * __builtin_fabs(x), t = a < -45.0 ? -45.0 : a;
    double m = t * 1.4426950408889634 + MAGIC, n = m - MAGIC;
    double r = (t - n * 0x1.62e42fee00000p-1) - n * 0x1.a39ef35793c76p-33;
    double w = r * r * VM(exp_tail)(r), p = r + w, plow = w - (p - r);
    double scale = VM(from)((VM(bits)(m) - VM(bits)(MAGIC) + 1023) << 52), one = scale - 1.0;
    double e = one + scale * p, elow = scale * p - (e - one) + scale * plow; /* what rounding took */
    double d = e + 2.0, dlow = e - (d - 2.0) + elow, q = -e / d;
    return __builtin_copysign(q - (elow + q * dlow) * (1.457 - 0.5 * d), x); /* the last factor is 1 / d, nearly */
}

/* sin(x + quarter * pi/2) for |x| <= 1e6, else NaN */
static INLINE double VM(sine)(double x, uint64_t quarter) {
    double m = x * 6.36619772367581382433e-01 + MAGIC, n = m - MAGIC;
    double t = x - n * 1.57079632673412561417e+00, w = n * 6.07710050630396597660e-11; /* exact: pi/2 in parts of 33 bits */
    double t0 = t - w, t1 = ((t - t0) - w) - n * 2.02226624879595063154e-21;
    double r = t0 + t1, low = (t0 - r) + t1, z = r * r, v = z * r;
    double ps = 8.33333333332248946124e-03
                + z * (-1.98412698298579493134e-04
                       + z * (2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)));
    double s = r - ((z * (0.5 * low - v * ps) - low) - v * -1.66666666666666324348e-01);
    double pc = z * (4.16666666666666019037e-02
                     + z * (-1.38888888888741095749e-03
                            + z * (2.48015872894767294178e-05
                                   + z * (-2.75573143513906633035e-07
                                          + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)))));
    double hz = 0.5 * z, one = 1.0 - hz, c = one + (((1.0 - one) - hz) + (z * pc - r * low));
    uint64_t q = VM(bits)(m) + quarter;
    double y = (q & 1) ? c : s;
    y = (q & 2) ? -y : y;
    return __builtin_fabs(x) <= 1e6 ? y : (double)NAN;
}

static INLINE double VM(sin)(double x) { return x == 0.0 ? x : VM(sine)(x, 0); }
static INLINE double VM(cos)(double x) { return VM(sine)(x, 1); }

/* a * b = high + low, exactly */
static INLINE double VM(low_product)(double a, double b, double high) {
#ifdef HAS_FMA
    return __builtin_fma(a, b, -high);
#else
    double ca = a * 134217729.0, cb = b * 134217729.0, ah = ca - (ca - a), bh = cb - (cb - b), al = a - ah, bl = b - bh;
    return ((ah * bh - high) + ah * bl + al * bh) + al * bl;
#endif
}

/* exp(b log(a)) with log(a) to about 65 bits: k ln 2 + 2 (s + s^3/3 + ...), s = (m - 1) / (m + 1), its first terms as a sum
   of two doubles */
static INLINE double VM(pow)(double a, double b) {
    uint64_t i = VM(bits)(a) + (0x3ff0000000000000u - 0x3fe6a09e00000000u);
    double k = VM(from)(0x4330000000000000u | (i >> 52)) - (4503599627370496.0 + 1023.0);
    double f = VM(from)((i & 0x000fffffffffffffu) + 0x3fe6a09e00000000u) - 1.0, d = 2.0 + f;
    double s = f / d, sd = s * d, dlow = (2.0 - d) + f;
    double slow = (((f - sd) - VM(low_product)(s, d, sd)) - s * dlow) / d;
    double z = s * s, zlow = VM(low_product)(s, s, z) + 2.0 * s * slow;
    double v = z * s, vlow = VM(low_product)(z, s, v) + zlow * s + z * slow; /* s^3 */
    double third = v * 0x1.5555555555555p-2;
    double thirdlow = VM(low_product)(v, 0x1.5555555555555p-2, third) + (vlow * 0x1.5555555555555p-2 + v * 0x1.5555555555555p-56);
    double tail = v * z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * (1.0 / 11 + z * (1.0 / 13 + z * (1.0 / 15
                  + z * (1.0 / 17 + z * (1.0 / 19 + z * (1.0 / 21 + z * (1.0 / 23 + z * (1.0 / 25)))))))))));
    double h1 = s + third, l1 = ((s - h1) + third) + (slow + thirdlow + tail); /* |s| > |s^3 / 3| */
    double kh = k * 6.93147180369123816490e-01, h = kh + 2.0 * h1, part = h - kh;
    double l = ((kh - (h - part)) + (2.0 * h1 - part)) + (2.0 * l1 + k * 1.90821492927058770002e-10);
    double lh = h + l, ll = (h - lh) + l;
    double p = b * lh, plow = VM(low_product)(b, lh, p) + b * ll;
    int known = a >= 0x1p-1022 && a < (double)INFINITY && __builtin_fabs(b) < 0x1p60 && __builtin_fabs(b) > 0x1p-60;
    double y = VM(exp2part)(p, __builtin_fabs(p) < 750.0 ? plow : 0.0);
    return known ? y : (double)NAN;
}

#undef MAGIC

#else /* float */

#define MAGICF 12582912.0f /* 1.5 * 2^23 */

static INLINE uint32_t VM(bits)(float x) {
    uint32_t i;
    memcpy(&i, &x, 4);
    return i;
}
static INLINE float VM(from)(uint32_t i) {
    float x;
    memcpy(&x, &i, 4);
    return x;
}

static INLINE float VM(exp_tail)(float r) {
    float r2 = r * r;
    return (0.5f + r * (1.0f / 6)) + r2 * ((1.0f / 24 + r * (1.0f / 120)) + r2 * (1.0f / 720 + r * (1.0f / 5040)));
}

static INLINE float VM(exp)(float x) {
    float t = x > 89.0f ? 89.0f : x < -104.0f ? -104.0f : x;
    float m = t * 1.44269504f + MAGICF, n = m - MAGICF;
    float r = (t - n * 0.693359375f) - n * -2.12194440e-4f;
    float y = 1.0f + (r + r * r * VM(exp_tail)(r));
    uint32_t k = VM(bits)(m) - VM(bits)(MAGICF), half = ((k + 512) >> 1) - 256;
    return y * VM(from)((half + 127) << 23) * VM(from)((k - half + 127) << 23);
}

static INLINE float VM(log_core)(float u, float c, float k0) {
    uint32_t i = VM(bits)(u) + (0x3f800000u - 0x3f3504f3u);
    float k = VM(from)(0x4b000000u | (i >> 23)) - (8388608.0f + 127.0f) + k0;
    float f = VM(from)((i & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float h = 0.5f * f * f, s = f / (2.0f + f), z = s * s, w = z * z;
    float t = w * (0.40000972152f + w * 0.24279078841f) + z * (0.66666662693f + w * 0.28498786688f);
    return k * 6.9313812256e-01f - ((h - (s * (h + t) + (k * 9.0580006145e-06f + c))) - f);
}

static INLINE float VM(log)(float x) {
    float tiny = x < 0x1p-126f ? 25.0f : 0.0f;
    float y = VM(log_core)(x < 0x1p-126f ? x * 0x1p25f : x, 0.0f, -tiny);
    y = x == INFINITY ? x : y;
    y = x == 0.0f ? -INFINITY : y;
    return x >= 0.0f ? y : NAN;
}

static INLINE float VM(log1p)(float x) {
    float u = 1.0f + x, lost = x < 1.0f ? x - (u - 1.0f) : 1.0f - (u - x);
    float y = VM(log_core)(u, lost / u, 0.0f);
    y = x == INFINITY ? x : y;
    y = x == -1.0f ? -INFINITY : y;
    y = x >= -1.0f ? y : NAN;
    return __builtin_fabsf(x) < 0x1p-25f ? x : y;
}

static INLINE float VM(tanh)(float x) {
    float a = -2.0f * __builtin_fabsf(x), t = a < -20.0f ? -20.0f : a;
    float m = t * 1.44269504f + MAGICF, n = m - MAGICF;
    float r = (t - n * 0.693359375f) - n * -2.12194440e-4f;
    float w = r * r * VM(exp_tail)(r), p = r + w, plow = w - (p - r);
    float scale = VM(from)((VM(bits)(m) - VM(bits)(MAGICF) + 127) << 23), one = scale - 1.0f;
    float e = one + scale * p, elow = scale * p - (e - one) + scale * plow;
    float d = e + 2.0f, dlow = e - (d - 2.0f) + elow, q = -e / d;
    return __builtin_copysignf(q - (elow + q * dlow) * (1.457f - 0.5f * d), x);
}

/* by way of double, where 24 bits come out right */
static INLINE float VM(sin)(float x) { return (float)VD(sin)((double)x); }
static INLINE float VM(cos)(float x) { return (float)VD(cos)((double)x); }
static INLINE float VM(pow)(float a, float b) {
    int known = a >= 0x1p-126f && a < INFINITY && __builtin_fabsf(b) < INFINITY;
    double y = VD(exp)((double)b * VD(log)((double)a));
    return known ? (float)y : NAN;
}

#undef MAGICF

#endif

static INLINE T VM(abs)(T x) { return sizeof(T) == 8 ? (T)__builtin_fabs(x) : (T)__builtin_fabsf((float)x); }
static INLINE T VM(sqrt)(T x) { return sizeof(T) == 8 ? (T)__builtin_sqrt(x) : (T)__builtin_sqrtf((float)x); }
static INLINE T VM(sigmoid)(T x) { /* e is at most 1, so nothing overflows, and what is tiny stays what it is */
    T e = VM(exp)(-VM(abs)(x));
    return (x >= (T)0.0 ? (T)1.0 : e) / ((T)1.0 + e);
}
static INLINE T VM(maximum)(T a, T b) { return a >= b || a != a ? a : b; } /* NaN wins */
static INLINE T VM(minimum)(T a, T b) { return a <= b || a != a ? a : b; }
