/* A PKCS#11 module that passes every call on to another module, with the fault that a file names (faulty_token.py).

   The list of functions is a version and 68 addresses in the order of the standard. C_GetFunctionList alone is
   exported, as by many modules. A fault is a word and a number.

   A fault that ends sessions waits until no call is in the other module: a real HSM restarts elsewhere, while SoftHSM
   frees what a call in another thread still uses. */

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long UL;
typedef unsigned char U8;
typedef UL (*function)();
struct list { U8 version[2]; function at[68]; };
enum { GET_SLOT_LIST = 4, OPEN_SESSION = 12, CLOSE_ALL_SESSIONS = 14, LOGIN = 18, LOGOUT = 19, SIGN = 43 };
enum { TOKEN_NOT_PRESENT = 0xE0, SESSION_HANDLE_INVALID = 0xB3, LENGTH = 64 };

static struct list *real, ours;
static pthread_rwlock_t calls = PTHREAD_RWLOCK_INITIALIZER;
static U8 last[LENGTH];
static UL slot;

/* Call a function of the other module: an argument that it does not have is ignored. */
static UL passed(int number, UL a, UL b, UL c, UL d, UL e) {
    UL result;
    pthread_rwlock_rdlock(&calls);
    result = real->at[number](a, b, c, d, e);
    pthread_rwlock_unlock(&calls);
    return result;
}

/* What the gateway calls and no fault changes: C_GetSlotInfo, C_GetTokenInfo, C_GetMechanismList, C_GetMechanismInfo,
   C_CloseSession, C_GetSessionInfo, C_GetAttributeValue, C_FindObjectsInit, C_FindObjects, C_FindObjectsFinal, C_SignInit. */
#define EACH_OTHER(of) of(5) of(6) of(7) of(8) of(13) of(15) of(24) of(26) of(27) of(28) of(42)
#define DEFINE(number) \
    static UL passed_##number(UL a, UL b, UL c, UL d, UL e) { return passed(number, a, b, c, d, e); }
EACH_OTHER(DEFINE)

static void end_sessions(int number, UL of) {
    pthread_rwlock_wrlock(&calls);
    real->at[number](of);
    pthread_rwlock_unlock(&calls);
}

static int fault(const char *name, UL *number) {
    char word[32] = "";
    FILE *file = fopen(getenv("FAULTY_TOKEN"), "r");
    *number = 0;
    if (!file) return 0;
    if (fscanf(file, "%31s %lu", word, number) < 1) word[0] = 0;
    fclose(file);
    return !strcmp(word, name);
}

static UL get_slot_list(U8 present, UL *found, UL *count) {
    UL number;
    if (!fault("gone", &number)) return passed(GET_SLOT_LIST, present, (UL)found, (UL)count, 0, 0);
    *count = 0;
    return 0;
}

static UL open_session(UL at, UL flags, void *application, void *notify, UL *session) {
    UL number;
    if (fault("gone", &number)) return TOKEN_NOT_PRESENT;
    slot = at;
    return passed(OPEN_SESSION, at, flags, (UL)application, (UL)notify, (UL)session);
}

static UL login(UL session, UL user, U8 *pin, UL length) {
    UL number;
    return fault("login", &number) ? number : passed(LOGIN, session, user, (UL)pin, length, 0);
}

static UL sign(UL session, U8 *data, UL data_length, U8 *signature, UL *length) {
    UL number, result;
    if (fault("gone", &number)) return TOKEN_NOT_PRESENT;
    if (fault("fails", &number)) return number;
    if (fault("login", &number)) {
        end_sessions(CLOSE_ALL_SESSIONS, slot);
        return SESSION_HANDLE_INVALID;
    }
    if (fault("restart", &number) && !unlink(getenv("FAULTY_TOKEN"))) end_sessions(CLOSE_ALL_SESSIONS, slot);
    if (fault("logout", &number) && !unlink(getenv("FAULTY_TOKEN"))) end_sessions(LOGOUT, session);
    if (signature && fault("slow", &number)) usleep((unsigned)number * 1000);
    result = passed(SIGN, session, (UL)data, data_length, (UL)signature, (UL)length);
    if (result || !signature) return result;
    if (fault("stale", &number)) memcpy(signature, last, LENGTH);
    else memcpy(last, signature, LENGTH);
    if (fault("flips", &number)) signature[number] ^= 1;
    if (fault("length", &number)) *length = number;
    return 0;
}

UL C_GetFunctionList(struct list **list) {
    void *module = dlopen(getenv("FAULTY_TOKEN_MODULE"), RTLD_NOW | RTLD_LOCAL);
    function get = module ? (function)dlsym(module, "C_GetFunctionList") : 0;
    UL result = get ? get(&real) : 5; /* CKR_GENERAL_ERROR */
    if (result) return result;
    ours = *real;
#define LIST(number) ours.at[number] = (function)passed_##number;
    EACH_OTHER(LIST)
    ours.at[GET_SLOT_LIST] = (function)get_slot_list;
    ours.at[OPEN_SESSION] = (function)open_session;
    ours.at[LOGIN] = (function)login;
    ours.at[SIGN] = (function)sign;
    *list = &ours;
    return 0;
}
