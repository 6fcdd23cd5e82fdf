/* base_version.h — the version, in one place. CMakeLists.txt and include/hakmem.h are held to it
 * by a test.
 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define HAK_VERSION_TEXT "0.1.0"

#endif
